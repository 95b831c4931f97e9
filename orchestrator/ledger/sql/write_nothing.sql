delete from failures
where false
