-- With these settings the server notices within two minutes that the host of a run is gone, and
-- releases its lock. (The client's own settings notice that the server is gone.)
select set_config(wanted.name, wanted.setting, false)
from pg_settings
inner join (values
    ('idle_session_timeout', '0'),
    ('tcp_keepalives_idle', '60'),
    ('tcp_keepalives_interval', '10'),
    ('tcp_keepalives_count', '6')
) as wanted (name, setting) on pg_settings.name = wanted.name
