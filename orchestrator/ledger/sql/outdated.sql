select *
from deliveries
where
    destination = :destination
    and path in (
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
    -- What an earlier revision did not deliver waits no more.
    and (
        delivered_at is not null
        or not exists (
            select 1
            from windows as newer
            where
                (newer.export, newer.window_start, newer.window_end)
                = (deliveries.export, deliveries.window_start, deliveries.window_end)
                and newer.revision > deliveries.revision
        )
    )
order by revision
