update deliveries
set delivered_at = :delivered_at
where
    (export, window_start, window_end, revision)
    = (:export, :window_start, :window_end, :revision)
    and destination = :destination
    and path = :path
