-- A brand of `*` that had no rows when the window was delivered has no row in windows.
select
    recounts.*,
    windows.state,
    windows.scheduled,
    coalesce(windows.activity_rows, 0) as activity_rows_before,
    coalesce(windows.broadcast_rows, 0) as broadcast_rows_before
from recounts
left outer join {newest_written} as windows using (export, window_start, window_end)
where
    recounts.is_late
    and (windows.revision is null or windows.revision = recounts.revision)
order by recounts.window_start, recounts.export
