update deliveries
set path_key = path_key(path)
where path_key is null
