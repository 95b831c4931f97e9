with newest as (
    select
        export,
        max(window_start) as window_start
    from windows
    where state <> 'planned'
    group by export
)

select activities.*
from activities
inner join newest using (export, window_start)
order by activities.window_end, activities.revision
