-- Files whose path some receiver may treat as the same path. Files that were not delivered, of
-- revisions that were replaced, are left out: nobody will get them.
select deliveries.*
from deliveries
inner join {newest} as windows using (export, window_start, window_end)
where
    deliveries.path_key in (select cast(key as bigint) from json_each(:path_keys))
    and (deliveries.delivered_at is not null or deliveries.revision = windows.revision)
