-- No window is longer than a month, so the condition with `earliest` changes no result. It lets the
-- database find the windows by the primary key. `cross join` makes SQLite read the names first.
select windows.*
from json_each(:names) as names
cross join windows
where
    windows.export = names.key
    and windows.window_start > :earliest
    and windows.window_end > :since
order by windows.revision
