-- The newest migration that a build must know to work with this schema. A migration that removes what older builds use raises it
-- (`update log set required_migration = …`), so an older build can tell whether the migrations that it does not know concern it.
alter table log add column required_migration bigint not null default 0;
