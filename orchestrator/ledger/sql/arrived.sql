-- announced_to stays: retention finds the file where it is, whatever its destination is called.
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
