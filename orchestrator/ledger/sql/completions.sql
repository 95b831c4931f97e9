with whole as (
    select
        export,
        window_start,
        window_end,
        max(delivered_at) as complete_at
    from deliveries
    where window_start >= :since
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
