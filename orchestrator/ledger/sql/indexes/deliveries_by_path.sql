create index deliveries_by_path on deliveries (path_key)
