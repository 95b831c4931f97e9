select *
from windows
where window_start > :earliest and window_end > :since
order by revision
