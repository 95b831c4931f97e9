select 1 as found
from deliveries
limit 1
