select 1 as found
from windows
limit 1
