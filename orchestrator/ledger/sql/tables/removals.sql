-- What retention need not ask for again, until it is delivered anew.
create table removals (
    destination varchar(200) not null,
    path varchar(1000) not null,
    removed_at {moment} not null,
    primary key (destination, path)
)
