-- The schema in which the login's search path creates tables, or null: an earlier build migrated that one.
-- returns text
-- role: owner
select current_schema()::text
