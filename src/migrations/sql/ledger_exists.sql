-- Whether anything was ever migrated here.
-- $1 text the migrator's own table
-- returns bool
-- role: owner
select to_regclass($1) is not null
