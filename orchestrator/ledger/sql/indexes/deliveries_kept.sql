-- The files that retention has not removed yet, by destination and age.
create index deliveries_kept on deliveries (destination, delivered_at) where removed_at is null
