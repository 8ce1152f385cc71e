-- Whether sqlx's default ledger has no rows left.
-- returns bool
-- role: owner
select not exists (select from foldlog._sqlx_migrations)
