-- The paths are the keys of one JSON object: both databases read it by the same name. PostgreSQL
-- takes it for a hundred rows, whatever it holds; `is true` keeps it from looping over them.
select *
from deliveries
where
    (path in (select key from json_each(:paths))) is true
    -- What an earlier revision did not deliver waits no more.
    and (
        delivered_at is not null
        or not exists (
            select 1
            from windows as newer
            where
                (newer.export, newer.window_start, newer.window_end)
                = (deliveries.export, deliveries.window_start, deliveries.window_end)
                and newer.revision > deliveries.revision
        )
    )
order by revision
