-- The files of one batch; old_files_until returns where the batch ends.
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
    -- No later file has this path, and no file of a newest revision waits for delivery to it. (A
    -- file of an earlier revision that was not delivered never will be.)
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
