-- Files whose paths may be one to a receiver, of revisions that are in use or were delivered.
select deliveries.*
from deliveries
inner join {newest} as windows using (export, window_start, window_end)
where
    deliveries.path_key in (select cast(key as bigint) from json_each(:path_keys))
    and (deliveries.delivered_at is not null or deliveries.revision = windows.revision)
