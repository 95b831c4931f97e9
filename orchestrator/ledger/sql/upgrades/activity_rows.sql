-- Until 0.1 these were rows of a separate table, which was a third of the ledger's size.
update windows
set activities = (
    select cast({json_object}(activities.activity, activities.rows) as text)
    from activities
    where
        (activities.export, activities.window_start, activities.window_end, activities.revision)
        = (windows.export, windows.window_start, windows.window_end, windows.revision)
)
where state <> 'planned'
