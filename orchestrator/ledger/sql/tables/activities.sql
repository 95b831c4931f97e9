-- The rows of each revision's activity file, by activity.
create table activities (
    export varchar(300) not null,
    window_start {moment} not null,
    window_end {moment} not null,
    revision integer not null,
    activity varchar not null,
    rows bigint not null,
    primary key (export, window_start, window_end, revision, activity)
) {compact}
