-- Until 0.1 a separate table had the files with which retention had finished.
update deliveries
set removed_at = (
    select removals.removed_at
    from removals
    where
        removals.destination = deliveries.destination
        and removals.path = deliveries.path
        and removals.removed_at >= deliveries.delivered_at
)
where deliveries.delivered_at is not null and deliveries.removed_at is null
