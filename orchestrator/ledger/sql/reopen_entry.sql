update windows
set state = 'written'
where
    (export, window_start, window_end, revision)
    = (:export, :window_start, :window_end, :revision)
