alter table deliveries add column tidied_at {moment}
