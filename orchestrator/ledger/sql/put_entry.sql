insert into windows (
    export, window_start, window_end, revision,
    scheduled, state, activity_rows, broadcast_rows, activities, updated_at
)
values (
    :export, :window_start, :window_end, :revision,
    :scheduled, :state, :activity_rows, :broadcast_rows, :activities, :updated_at
)
on conflict (export, window_start, window_end, revision) do update
set
    scheduled = excluded.scheduled,
    state = excluded.state,
    activity_rows = excluded.activity_rows,
    broadcast_rows = excluded.broadcast_rows,
    activities = coalesce(excluded.activities, windows.activities),
    updated_at = excluded.updated_at
