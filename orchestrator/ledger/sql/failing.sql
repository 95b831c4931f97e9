select failures.*
from failures
left outer join windows using (export, window_start, window_end, revision)
where
    (
        windows.export is null
        or (windows.state <> 'delivered' and failures.last_at >= windows.updated_at)
    )
    and not exists (
        select 1
        from windows as newer
        where
            (newer.export, newer.window_start, newer.window_end)
            = (failures.export, failures.window_start, failures.window_end)
            and newer.revision > failures.revision
    )
order by failures.last_at
