select deliveries.*
from deliveries
inner join {newest} as windows using (export, window_start, window_end)
where
    deliveries.destination = :destination
    and deliveries.path in (
        select old.path
        from deliveries as old
        where
            old.destination = :destination
            and old.delivered_at < :before
            and not exists (
                select 1
                from removals
                where
                    removals.destination = old.destination
                    and removals.path = old.path
                    and removals.removed_at >= old.delivered_at
            )
    )
    -- What an earlier revision did not deliver will not be delivered.
    and (deliveries.delivered_at is not null or deliveries.revision = windows.revision)
order by deliveries.revision
