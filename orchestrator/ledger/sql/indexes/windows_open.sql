-- Windows that are not delivered. They are few even in a long ledger. Only a statement that repeats
-- the condition uses the index.
create index windows_open on windows (export) where state <> 'delivered'
