alter table windows add column activities varchar
