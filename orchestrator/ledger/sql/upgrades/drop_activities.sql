drop table activities
