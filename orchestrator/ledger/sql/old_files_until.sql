-- The time of delivery of the last file of the next batch, null if no file is left. The index
-- deliveries_kept finds the batch, so its cost does not depend on the number of files.
select max(piece.delivered_at) as delivered_at
from (
    select delivered_at
    from deliveries
    where
        destination = :destination
        and delivered_at > :after
        and delivered_at < :before
        and removed_at is null
    order by delivered_at
    limit :most
) as piece
