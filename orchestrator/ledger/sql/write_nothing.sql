delete from removals
where false
