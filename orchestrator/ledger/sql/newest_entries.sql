select windows.*
from {newest_windows} as newest
inner join windows using (export, window_start)
where windows.state <> 'planned'
order by windows.window_end, windows.revision
