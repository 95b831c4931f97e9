select *
from windows
where window_start = :window_start and window_end = :window_end
order by revision
