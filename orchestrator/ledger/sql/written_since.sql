-- The newest revision with files of each window, and what identifies the rows in these files.
select
    windows.*,
    recounts.choice,
    recounts.keys
from {newest_written} as windows
left outer join recounts
    on (
        (recounts.export, recounts.window_start, recounts.window_end, recounts.revision)
        = (windows.export, windows.window_start, windows.window_end, windows.revision)
    )
where windows.window_start > :earliest and windows.window_end > :since
order by windows.window_start, windows.export
