-- A new manifest gets the next number in the sequence of its export; one that is written again
-- keeps its number. (Without the casts, PostgreSQL infers two different types for the parameter.)
insert into manifests (export, window_start, window_end, revision, sequence, sha256)
select
    cast(:export as varchar), :window_start, :window_end, :revision,
    coalesce(max(sequence), 0) + 1, :sha256
from manifests
where export = cast(:export as varchar)
on conflict (export, window_start, window_end, revision) do update
set sha256 = excluded.sha256
