-- The names of all exports that have windows. They are found one after the other by the primary
-- key: there are few of them in a long ledger.
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
