-- Windows with late rows. They are few even in a long ledger. Only a statement that repeats the
-- condition uses the index.
create index recounts_late on recounts (export) where is_late
