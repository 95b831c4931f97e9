-- Until 0.1 a window was late if more rows were counted than were delivered.
update recounts
set is_late = true
where
    (recounts.activity_rows > 0 or recounts.broadcast_rows > 0)
    and not exists (
        select 1
        from windows
        where
            (windows.export, windows.window_start, windows.window_end, windows.revision)
            = (recounts.export, recounts.window_start, recounts.window_end, recounts.revision)
            and windows.activity_rows >= recounts.activity_rows
            and windows.broadcast_rows >= recounts.broadcast_rows
    )
