-- The windows of an export do not overlap, so the one that starts last also ends last.
select
    names.key as export,
    windows.window_start,
    windows.window_end
from json_each(:names) as names
inner join windows
    on
        windows.export = names.key
        and windows.window_start = (
            select max(earlier.window_start)
            from windows as earlier
            where
                earlier.export = names.key
                and earlier.window_start < :window_end
                and (earlier.scheduled or earlier.state <> 'planned' or earlier.revision > 1)
        )
where windows.window_end > :window_start
