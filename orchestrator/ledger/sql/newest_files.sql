with newest as (
    select
        export,
        max(window_start) as window_start
    from windows
    where state <> 'planned'
    group by export
)

select deliveries.*
from deliveries
inner join newest using (export, window_start)
order by deliveries.window_end, deliveries.revision, deliveries.position
