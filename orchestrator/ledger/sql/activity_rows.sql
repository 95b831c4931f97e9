select
    export,
    window_start,
    activities
from {newest_written} as windows
where window_start >= :since and length(activities) > 2 -- an empty object
