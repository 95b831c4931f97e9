alter table deliveries add column announced_to varchar
