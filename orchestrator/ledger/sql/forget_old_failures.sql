delete from failures
where
    (export, window_start, window_end) = (:export, :window_start, :window_end)
    and last_at < (
        select last_at
        from failures
        where (export, window_start, window_end) = (:export, :window_start, :window_end)
        order by last_at desc
        limit 1 offset :kept
    )
