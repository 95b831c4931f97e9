-- When the ledger noted something last: `status` asks it each time.
create index windows_by_update on windows (updated_at)
