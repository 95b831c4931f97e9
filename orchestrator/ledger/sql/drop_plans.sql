delete from windows
where
    (export, window_start, window_end) = (:export, :window_start, :window_end)
    and revision > :revision
    and state = 'planned'
