insert into deliveries (
    export, window_start, window_end, revision,
    destination, path, kind, position, bytes, sha256, rename_sent, delivered_at,
    path_key, announced_to
)
values (
    :export, :window_start, :window_end, :revision,
    :destination, :path, :kind, :position, :bytes, :sha256, :rename_sent, :delivered_at,
    :path_key, :announced_to
)
