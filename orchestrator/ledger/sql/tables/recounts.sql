-- One row for each revision that has files.
create table recounts (
    export varchar(300) not null,
    window_start {moment} not null,
    window_end {moment} not null,
    revision integer not null,
    choice varchar(1000) not null, -- which rows the files contain
    -- What the views showed when it was counted again.
    counted_at {moment},
    activity_rows bigint,
    broadcast_rows bigint,
    keys varchar, -- the fingerprint of the rows in the files
    is_late boolean, -- the views had other rows than the files when it was counted again
    primary key (export, window_start, window_end, revision)
)
