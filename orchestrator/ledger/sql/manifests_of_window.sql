select revision, sequence, sha256
from manifests
where
    (export, window_start, window_end) = (:export, :window_start, :window_end)
    and revision <= :revision
order by revision
