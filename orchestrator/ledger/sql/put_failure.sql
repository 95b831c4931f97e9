insert into failures (
    export, window_start, window_end, revision,
    digest, status, reason, first_at, last_at, times
)
values (
    :export, :window_start, :window_end, :revision,
    :digest, :status, :reason, :first_at, :last_at, :times
)
on conflict (export, window_start, window_end, revision, digest) do update
set
    last_at = excluded.last_at,
    times = failures.times + excluded.times
