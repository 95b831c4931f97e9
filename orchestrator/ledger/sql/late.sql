select
    recounts.*,
    windows.state,
    windows.scheduled,
    coalesce(windows.activity_rows, 0) as activity_rows_before,
    coalesce(windows.broadcast_rows, 0) as broadcast_rows_before
from recounts
left outer join windows using (export, window_start, window_end, revision)
where
    (
        recounts.activity_rows > coalesce(windows.activity_rows, 0)
        or recounts.broadcast_rows > coalesce(windows.broadcast_rows, 0)
    )
    and not exists (
        select 1
        from windows as newer
        where
            (newer.export, newer.window_start, newer.window_end)
            = (recounts.export, recounts.window_start, recounts.window_end)
            and newer.revision > recounts.revision
            and newer.state <> 'planned'
    )
order by recounts.window_start, recounts.export
