alter table deliveries add column removed_at {moment}
