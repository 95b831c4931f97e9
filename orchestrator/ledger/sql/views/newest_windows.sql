-- The newest window of each export that has files.
select
    export,
    max(window_start) as window_start
from windows
where state <> 'planned'
group by export
