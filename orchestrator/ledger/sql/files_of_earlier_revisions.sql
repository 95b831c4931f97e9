select *
from deliveries
where
    (export, window_start, window_end) = (:export, :window_start, :window_end)
    and revision < :revision
order by revision, position
