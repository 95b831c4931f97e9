-- What waits: a handful of rows, however long the ledger. A statement must repeat the condition.
create index windows_open on windows (export) where state <> 'delivered'
