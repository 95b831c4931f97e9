select *
from deliveries
where path_key is null
limit 10000
