delete from deliveries
where
    (export, window_start, window_end, revision)
    = (:export, :window_start, :window_end, :revision)
    and delivered_at is null
