-- For retention: files that may still be in the outbox, by age.
create index deliveries_untidied on deliveries (delivered_at) where tidied_at is null
