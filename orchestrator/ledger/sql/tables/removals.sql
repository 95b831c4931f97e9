-- Files that retention is done with, until they are delivered again.
create table removals (
    destination varchar(200) not null,
    path varchar(1000) not null,
    removed_at {moment} not null,
    primary key (destination, path)
)
