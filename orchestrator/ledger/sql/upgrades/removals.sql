-- Until 0.1 a table of its own said which files retention was done with.
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
