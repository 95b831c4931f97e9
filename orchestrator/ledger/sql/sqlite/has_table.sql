select 1 as found
from sqlite_master
where type = 'table' and name = :name
