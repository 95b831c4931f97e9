with revisions as (
    select
        windows.*,
        row_number() over (
            partition by export, window_start, window_end order by revision desc
        ) as from_newest
    from windows
    where window_end > :since
),

numbered as (
    select
        revisions.*,
        row_number() over (partition by export order by window_start desc) as number_back
    from revisions
    where from_newest = 1
)

select *
from numbered
where number_back <= :most
order by export, window_start
