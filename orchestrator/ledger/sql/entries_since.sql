select *
from windows
where window_end > :since
order by revision
