update deliveries
set path_key = :path_key
where
    (export, window_start, window_end, revision)
    = (:export, :window_start, :window_end, :revision)
    and destination = :destination
    and path = :path
