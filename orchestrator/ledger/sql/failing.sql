-- A brand whose name cannot be part of a file name is never planned, so its failures have no row in
-- windows.
select failures.*
from failures
left outer join {newest} as windows using (export, window_start, window_end)
where
    windows.export is null
    or windows.revision < failures.revision
    or (
        windows.revision = failures.revision
        and windows.state <> 'delivered'
        and failures.last_at >= windows.updated_at
    )
order by failures.last_at
