-- Remembers what the table of a generation was created from. A generation that is not live serves no reader.
-- $1 text the lock domain of the generation
-- $2 text its DDL
-- $3 smallint the first event type
-- $4 smallint the event type before which to end
-- $5 text the hash of the DDL
-- $6 text live or filling
-- $7 text the hash of the fold
-- role: owner
with number as materialized (
    select coalesce(nullif(split_part($1, '#', 2), '')::integer, 1) as number
),
others as (
    update foldlog.views
    set newest_number = number.number
    from number
    where projection = split_part($1, '#', 1)
)
insert into foldlog.views (name, definition, first_type, end_type, definition_hash, fold_hash, state, serves, newest_number)
select $1, $2, $3, $4, $5, $7, $6, $6 = 'live', number
from number
