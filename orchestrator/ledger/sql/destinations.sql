-- Names of destinations that have files, and the newest place of each. The names are found one after
-- the other by the index deliveries_kept: there are few.
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
