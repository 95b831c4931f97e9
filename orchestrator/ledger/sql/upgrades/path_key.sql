alter table deliveries add column path_key bigint
