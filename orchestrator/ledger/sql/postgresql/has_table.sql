select 1 as found
where to_regclass(:name) is not null
