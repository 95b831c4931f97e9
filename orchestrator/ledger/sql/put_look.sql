insert into looks (looked_at, loaded_since, arrivals)
values (:looked_at, :loaded_since, :arrivals)
