-- announced_to is kept: with it retention finds the file after its destination was renamed.
update deliveries
set
    delivered_at = :delivered_at,
    removed_at = null,
    tidied_at = null
where
    (export, window_start, window_end, revision)
    = (:export, :window_start, :window_end, :revision)
    and destination = :destination
    and path = :path
