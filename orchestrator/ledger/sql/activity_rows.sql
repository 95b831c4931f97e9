-- One row of each window: Python takes its time for each that it reads.
select
    export,
    window_start,
    cast({json_object}(activity, rows) as text) as rows_by_activity
from activities
where
    window_start >= :since
    and not exists (
        select 1
        from windows as newer
        where
            (newer.export, newer.window_start, newer.window_end)
            = (activities.export, activities.window_start, activities.window_end)
            and newer.revision > activities.revision
            and newer.state <> 'planned'
    )
group by export, window_start, window_end
