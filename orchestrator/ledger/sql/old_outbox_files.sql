-- The files of one batch; old_outbox_files_until returns where the batch ends.
select files.*
from deliveries as files
where
    files.delivered_at > :after
    and files.delivered_at <= :until
    and files.tidied_at is null
    and exists (
        select 1
        from deliveries as later
        where
            later.export = files.export
            and later.window_start > files.window_start
            and later.window_end > files.window_end
            and later.delivered_at is not null
    )
    -- All destinations share the file in the outbox, so it stays while one of them waits for it.
    and not exists (
        select 1
        from deliveries as other
        where
            other.path_key = files.path_key
            and (
                other.delivered_at >= :before
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
