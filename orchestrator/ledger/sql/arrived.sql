update deliveries
set
    delivered_at = :delivered_at,
    announced_to = null,
    removed_at = null,
    tidied_at = null
where
    (export, window_start, window_end, revision)
    = (:export, :window_start, :window_end, :revision)
    and destination = :destination
    and path = :path
