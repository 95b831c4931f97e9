-- Windows with late rows: few, however long the ledger. A statement must repeat the condition.
create index recounts_late on recounts (export) where is_late
