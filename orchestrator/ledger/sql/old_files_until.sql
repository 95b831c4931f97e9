-- When the last file of the next piece was delivered, null where no file is left. The index
-- deliveries_kept finds the piece, so each piece costs the same however many files there are.
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
