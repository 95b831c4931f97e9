select 1 as found
from sqlite_master
where name = :name
