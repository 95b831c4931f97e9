-- The paths are the keys of one JSON object, which both databases read by the same function.
-- PostgreSQL plans for a hundred keys, however many there are, and would loop over the files for
-- each of them; `is true` keeps the condition from becoming such a join.
select deliveries.*
from deliveries
inner join {newest} as windows using (export, window_start, window_end)
where
    (deliveries.path in (select key from json_each(:paths))) is true
    -- What an earlier revision did not deliver will not be delivered.
    and (deliveries.delivered_at is not null or deliveries.revision = windows.revision)
order by deliveries.revision
