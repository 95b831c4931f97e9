-- The files of one piece of old_files_until.
select files.*
from deliveries as files
where
    files.destination = :destination
    and files.delivered_at > :after
    and files.delivered_at <= :until
    and files.removed_at is null
    and exists (
        select 1
        from deliveries as later
        where
            later.export = files.export
            and later.window_start > files.window_start
            and later.window_end > files.window_end
            and later.destination in (:destination, :renamed)
            and later.delivered_at is not null
    )
    -- A later file at the same path, or one that waits for delivery: an earlier revision's that
    -- was never delivered will not be.
    and not exists (
        select 1
        from deliveries as other
        where
            other.path_key = files.path_key
            and other.destination in (:destination, :renamed)
            and other.path = files.path
            and (
                other.delivered_at > files.delivered_at
                or (
                    other.delivered_at is null
                    and other.revision = (
                        select max(windows.revision)
                        from windows
                        where
                            (windows.export, windows.window_start, windows.window_end)
                            = (other.export, other.window_start, other.window_end)
                    )
                )
            )
    )
order by files.window_start, files.window_end, files.export, files.position desc
