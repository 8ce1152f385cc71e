-- Drops sqlx's default ledger. (Not prepared: it is DDL.)
-- role: owner
drop table foldlog._sqlx_migrations
