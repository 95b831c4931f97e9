-- One row for each revision that has files.
create table recounts (
    export varchar(300) not null,
    window_start {moment} not null,
    window_end {moment} not null,
    revision integer not null,
    choice varchar(1000) not null, -- identifies the filter of the rows in the files
    -- The time of the last recount, and the numbers of rows in the views at that time.
    counted_at {moment},
    activity_rows bigint,
    broadcast_rows bigint,
    keys varchar, -- the fingerprint of the rows in the files
    is_late boolean, -- at the last recount the rows in the views were not those in the files
    primary key (export, window_start, window_end, revision)
)
