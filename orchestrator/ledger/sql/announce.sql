update deliveries
set
    rename_sent = :rename_sent,
    announced_to = :announced_to
where
    (export, window_start, window_end, revision)
    = (:export, :window_start, :window_end, :revision)
    and destination = :destination
    and path = :path
