-- The names are found one after the other by the primary key: there are few in a long ledger.
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

select export
from exports
where export is not null
