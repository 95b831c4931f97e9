select
    pg_stat_activity.application_name,
    pg_stat_activity.backend_start
from pg_locks
inner join pg_stat_activity on pg_locks.pid = pg_stat_activity.pid
inner join pg_database on pg_locks.database = pg_database.oid
where
    pg_locks.locktype = 'advisory'
    and pg_locks.granted
    and pg_locks.classid = 0
    and pg_locks.objid = :lock
    and pg_database.datname = current_database()
