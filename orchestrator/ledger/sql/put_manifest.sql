-- A further manifest of an export is the next in its sequence; one that is written again keeps its
-- place. (PostgreSQL takes a parameter that is named twice for two types without the cast.)
insert into manifests (export, window_start, window_end, revision, sequence, sha256)
select
    cast(:export as varchar), :window_start, :window_end, :revision,
    coalesce(max(sequence), 0) + 1, :sha256
from manifests
where export = cast(:export as varchar)
on conflict (export, window_start, window_end, revision) do update
set sha256 = excluded.sha256
