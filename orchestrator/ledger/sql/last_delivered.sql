-- The bounds are found first, by the primary key, so that older windows are not read.
with bounds as materialized (
    select
        newest.export,
        coalesce(
            (
                select written.window_start
                from {newest_written} as written
                where written.export = newest.export and written.state = 'delivered'
                order by written.window_start desc
                limit 1 offset :last - 1
            ),
            (
                select min(windows.window_start)
                from windows
                where windows.export = newest.export
            )
        ) as window_start
    from {newest_windows} as newest
),

delivered as (
    select
        windows.*,
        recounts.choice,
        row_number() over (
            partition by windows.export
            order by windows.window_start desc
        ) as place
    from bounds
    inner join {newest_written} as windows
        on bounds.export = windows.export and windows.window_start >= bounds.window_start
    left outer join recounts
        on (
            (recounts.export, recounts.window_start, recounts.window_end, recounts.revision)
            = (windows.export, windows.window_start, windows.window_end, windows.revision)
        )
    where windows.state = 'delivered'
)

select *
from delivered
where place <= :last
order by place, export
