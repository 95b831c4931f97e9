-- The newest window of each export that has files.
select
    exports.export,
    (
        select windows.window_start
        from windows
        where windows.export = exports.export and windows.state <> 'planned'
        order by windows.window_start desc
        limit 1
    ) as window_start
from {exports} as exports
