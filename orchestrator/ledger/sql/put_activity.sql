insert into activities (export, window_start, window_end, revision, activity, rows)
values (:export, :window_start, :window_end, :revision, :activity, :rows)
