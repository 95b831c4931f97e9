select 1 as found
from pg_attribute
where attrelid = to_regclass(:table) and attname = :name and not attisdropped
