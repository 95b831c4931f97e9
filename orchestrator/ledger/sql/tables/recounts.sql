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
    primary key (export, window_start, window_end, revision)
)
