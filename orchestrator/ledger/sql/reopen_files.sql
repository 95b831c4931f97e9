update deliveries
set delivered_at = null, rename_sent = false
where
    (export, window_start, window_end, revision)
    = (:export, :window_start, :window_end, :revision)
    and destination = :destination
