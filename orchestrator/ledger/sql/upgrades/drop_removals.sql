drop table removals
