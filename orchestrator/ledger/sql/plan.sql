-- If a window was requested by date earlier and is now due, it counts as scheduled.
insert into windows (
    export, window_start, window_end, revision,
    scheduled, state, activity_rows, broadcast_rows, updated_at
)
values (
    :export, :window_start, :window_end, :revision,
    :scheduled, :state, :activity_rows, :broadcast_rows, :updated_at
)
on conflict (export, window_start, window_end, revision) do update
set scheduled = true
where excluded.scheduled and not windows.scheduled
