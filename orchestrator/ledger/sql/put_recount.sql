insert into recounts (
    export, window_start, window_end, revision,
    choice, counted_at, activity_rows, broadcast_rows
)
values (
    :export, :window_start, :window_end, :revision,
    :choice, :counted_at, :activity_rows, :broadcast_rows
)
on conflict (export, window_start, window_end, revision) do update
set
    choice = excluded.choice,
    counted_at = excluded.counted_at,
    activity_rows = excluded.activity_rows,
    broadcast_rows = excluded.broadcast_rows
