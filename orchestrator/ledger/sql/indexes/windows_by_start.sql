-- For the windows of all brands at one time. An index by the end is not needed: no window is longer
-- than a month, so a condition on the start finds them.
create index windows_by_start on windows (window_start)
