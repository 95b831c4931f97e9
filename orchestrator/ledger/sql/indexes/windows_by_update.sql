-- For the time of the last record, which retention and `status` read each time.
create index windows_by_update on windows (updated_at)
