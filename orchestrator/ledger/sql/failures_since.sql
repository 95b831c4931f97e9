select *
from failures
where last_at >= :since
order by last_at desc
