-- The names of destinations that have files, and the newest host and folder of each. There are few
-- names: the recursion finds one after the other in the index deliveries_kept, so it reads few rows
-- of a long ledger.
with recursive names (destination) as (
    select min(deliveries.destination)
    from deliveries
    where deliveries.removed_at is null
    union all
    select (
        select min(deliveries.destination)
        from deliveries
        where deliveries.removed_at is null and deliveries.destination > names.destination
    )
    from names
    where names.destination is not null
)

select
    names.destination,
    (
        select deliveries.announced_to
        from deliveries
        where
            deliveries.removed_at is null
            and deliveries.destination = names.destination
            and deliveries.delivered_at is not null
        order by deliveries.delivered_at desc
        limit 1
    ) as announced_to
from names
where names.destination is not null
