update deliveries
set tidied_at = :removed_at
where
    path_key = :path_key
    and delivered_at is not null
