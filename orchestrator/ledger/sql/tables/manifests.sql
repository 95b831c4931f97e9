-- The manifests of each export, in the order in which they were written.
create table manifests (
    export varchar(300) not null,
    window_start {moment} not null,
    window_end {moment} not null,
    revision integer not null,
    sequence integer not null,
    sha256 varchar(64) not null,
    primary key (export, window_start, window_end, revision)
) {compact}
