-- Why a revision was not built or delivered, each reason once.
create table failures (
    export varchar(300) not null,
    window_start {moment} not null,
    window_end {moment} not null,
    revision integer not null,
    digest varchar(64) not null, -- of status and reason, which are too long for a key
    status varchar(20) not null, -- failed, stopped, held
    reason varchar(1000) not null,
    first_at {moment} not null,
    last_at {moment} not null,
    times integer not null,
    primary key (export, window_start, window_end, revision, digest)
)
