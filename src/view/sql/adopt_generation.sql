-- Moves the table of a generation from the schema in which its DDL ran to foldlog's schema, under the generation's name.
-- $1 text the projection
-- $2 text the lock domain of the generation, which is also the name of the schema
-- role: owner
select foldlog.adopt_generation($1, $2)
