-- The windows of an export tile time, so the one that starts last ends last.
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
