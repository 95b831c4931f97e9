delete from windows
where
    (export, window_start, window_end, revision)
    = (:export, :window_start, :window_end, :revision)
