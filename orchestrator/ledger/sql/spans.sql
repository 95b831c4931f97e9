select
    export,
    min(window_start) as window_start,
    max(window_end) as window_end
from windows
where scheduled
group by export
