-- No window is longer than a month, so `earliest` lets the primary key find the windows. `cross
-- join` has SQLite look them up by name.
select windows.*
from json_each(:names) as names
cross join windows
where
    windows.export = names.key
    and windows.window_start > :earliest
    and windows.window_end > :since
order by windows.revision
