select 1 as found
from pragma_table_info(:table)
where name = :name
