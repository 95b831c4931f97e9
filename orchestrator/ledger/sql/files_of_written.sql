select deliveries.*
from {newest} as windows
inner join deliveries using (export, window_start, window_end, revision)
where windows.state <> 'delivered' and windows.state = 'written'
