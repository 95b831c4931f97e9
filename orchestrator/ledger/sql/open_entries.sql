select *
from windows
where
    state <> 'delivered'
    and not exists (
        select 1
        from windows as newer
        where
            (newer.export, newer.window_start, newer.window_end)
            = (windows.export, windows.window_start, windows.window_end)
            and newer.revision > windows.revision
    )
