-- The revisions of each window of each export.
create table windows (
    export varchar(300) not null,
    window_start {moment} not null,
    window_end {moment} not null,
    revision integer not null,
    scheduled boolean not null, -- false: requested by date
    state varchar(20) not null, -- planned, written, delivered
    activity_rows bigint,
    broadcast_rows bigint,
    updated_at {moment} not null,
    activities varchar, -- the rows of the activity file by activity, as a JSON object
    primary key (export, window_start, window_end, revision)
)
