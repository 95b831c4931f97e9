with newest as (
    select
        export,
        max(window_start) as window_start
    from windows
    where state <> 'planned'
    group by export
)

select windows.*
from windows
inner join newest using (export, window_start)
where windows.state <> 'planned'
order by windows.window_end, windows.revision
