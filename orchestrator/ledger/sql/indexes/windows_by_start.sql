-- For the windows of all brands at one time. Nobody reads them by their end, which is near.
create index windows_by_start on windows (window_start)
