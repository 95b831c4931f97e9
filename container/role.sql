-- The role of the orchestrator, with the rights of docs/warehouses.md. The image of PostgreSQL runs
-- this once, as the superuser, in a new volume. `load` creates the schema raw, which the role owns.
\getenv password EXPORTS_PASSWORD
create role exports login password :'password';
grant create on database warehouse to exports;
