-- The files of each revision, once for each destination.
create table deliveries (
    export varchar(300) not null,
    window_start {moment} not null,
    window_end {moment} not null,
    revision integer not null,
    destination varchar(200) not null,
    path varchar(1000) not null,
    kind varchar(20) not null, -- broadcast, activity, ready, manifest
    position integer not null, -- the order of delivery within the window
    bytes bigint not null,
    sha256 varchar(64) not null,
    -- The rename was announced: it may have happened even if delivered_at is null.
    rename_sent boolean not null,
    delivered_at {moment},
    path_key bigint, -- the same for paths that some receiver treats as one file
    announced_to varchar, -- the host and folder where the rename was sent
    removed_at {moment}, -- retention finished with it at the destination
    tidied_at {moment}, -- retention finished with it in the outbox
    primary key (export, window_start, window_end, revision, destination, path)
)
