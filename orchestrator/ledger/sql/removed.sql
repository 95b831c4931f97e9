update deliveries
set removed_at = :removed_at
where
    path_key = :path_key
    and destination = :destination
    and path = :path
    and delivered_at is not null
