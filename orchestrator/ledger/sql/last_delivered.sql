with delivered as (
    select
        windows.*,
        recounts.choice,
        row_number() over (
            partition by windows.export
            order by windows.window_start desc
        ) as place
    from {newest_written} as windows
    left outer join recounts using (export, window_start, window_end, revision)
    where windows.state = 'delivered'
)

select *
from delivered
where place <= :last
order by place, export
