with whole as (
    select
        export,
        window_start,
        window_end,
        max(delivered_at) as complete_at
    from deliveries
    inner join windows using (export, window_start, window_end, revision)
    where window_start >= :since and windows.scheduled
    group by export, window_start, window_end, revision
    having count(*) = count(delivered_at)
)

select
    export,
    window_start,
    window_end,
    min(complete_at) as complete_at
from whole
group by export, window_start, window_end
