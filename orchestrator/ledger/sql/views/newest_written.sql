-- The newest revision with files of each window.
select *
from windows as revisions
where
    state <> 'planned'
    and not exists (
        select 1
        from windows as newer
        where
            (newer.export, newer.window_start, newer.window_end)
            = (revisions.export, revisions.window_start, revisions.window_end)
            and newer.revision > revisions.revision
            and newer.state <> 'planned'
    )
