-- One row for each window: Python takes its time for every row that it reads.
select
    activities.export,
    activities.window_start,
    cast({json_object}(activities.activity, activities.rows) as text) as rows_by_activity
from {newest_written} as windows
inner join activities using (export, window_start, window_end, revision)
where activities.window_start >= :since
group by activities.export, activities.window_start, activities.window_end
