-- The last look for late rows, in one row: its time, and the rows that had reached the warehouse.
create table looks (
    looked_at {moment} not null,
    loaded_since {moment}, -- the next look asks for rows that were loaded since then
    arrivals varchar not null
)
