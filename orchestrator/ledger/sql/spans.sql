-- The windows of an export do not overlap, so the one that starts last also ends last.
select
    names.key as export,
    (
        select windows.window_start
        from windows
        where windows.export = names.key and windows.scheduled
        order by windows.window_start
        limit 1
    ) as window_start,
    (
        select windows.window_end
        from windows
        where windows.export = names.key and windows.scheduled
        order by windows.window_start desc
        limit 1
    ) as window_end
from json_each(:names) as names
