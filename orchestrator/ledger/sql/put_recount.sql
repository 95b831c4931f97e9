insert into recounts (
    export, window_start, window_end, revision,
    choice, keys, counted_at, activity_rows, broadcast_rows, is_late
)
values (
    :export, :window_start, :window_end, :revision,
    :choice, :keys, :counted_at, :activity_rows, :broadcast_rows, :is_late
)
on conflict (export, window_start, window_end, revision) do update
set
    choice = excluded.choice,
    keys = excluded.keys,
    counted_at = excluded.counted_at,
    activity_rows = excluded.activity_rows,
    broadcast_rows = excluded.broadcast_rows,
    is_late = excluded.is_late
