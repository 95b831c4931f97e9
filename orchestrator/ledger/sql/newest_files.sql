select deliveries.*
from {newest_windows} as newest
inner join deliveries using (export, window_start)
order by deliveries.window_end, deliveries.revision, deliveries.position
