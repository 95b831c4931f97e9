insert into removals (destination, path, removed_at)
values (:destination, :path, :removed_at)
on conflict (destination, path) do update
set removed_at = excluded.removed_at
