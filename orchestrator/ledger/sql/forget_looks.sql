delete from looks
