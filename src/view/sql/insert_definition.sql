-- Remembers what the table of a generation was created from. A generation that is not live serves no reader.
-- $1 text the lock domain of the generation
-- $2 text its DDL
-- $3 smallint the first event type
-- $4 smallint the event type before which to end
-- $5 text the hash of the DDL
-- $6 text live or filling
-- role: owner
insert into foldlog.views (name, definition, first_type, end_type, definition_hash, state, serves)
values ($1, $2, $3, $4, $5, $6, $6 = 'live')
