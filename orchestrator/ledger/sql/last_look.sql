select * from looks
