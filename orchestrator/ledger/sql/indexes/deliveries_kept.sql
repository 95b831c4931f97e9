-- For retention: files that it has not removed at the destination yet, by destination and age.
create index deliveries_kept on deliveries (destination, delivered_at) where removed_at is null
