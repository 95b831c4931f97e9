with delivered as (
    select
        windows.*,
        recounts.choice,
        row_number() over (
            partition by windows.export
            order by windows.window_start desc
        ) as place
    from windows
    left outer join recounts using (export, window_start, window_end, revision)
    where
        windows.state = 'delivered'
        and not exists (
            select 1
            from windows as newer
            where
                (newer.export, newer.window_start, newer.window_end)
                = (windows.export, windows.window_start, windows.window_end)
                and newer.revision > windows.revision
                and newer.state <> 'planned'
        )
)

select *
from delivered
where place <= :last
order by place, export
