-- The newest window of each export that has files. The names are found one after the other by the
-- primary key: there are few of them in a long ledger.
with recursive exports (export) as (
    select min(windows.export)
    from windows
    union all
    select (
        select min(windows.export)
        from windows
        where windows.export > exports.export
    )
    from exports
    where exports.export is not null
)

select
    exports.export,
    (
        select windows.window_start
        from windows
        where windows.export = exports.export and windows.state <> 'planned'
        order by windows.window_start desc
        limit 1
    ) as window_start
from exports
where exports.export is not null
