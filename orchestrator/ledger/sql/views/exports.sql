-- The names of all exports that have windows. There are few names: the recursion finds one after
-- the other in the primary key, so it reads few rows of a long ledger.
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
