select activities.*
from {newest_windows} as newest
inner join activities using (export, window_start)
order by activities.window_end, activities.revision
