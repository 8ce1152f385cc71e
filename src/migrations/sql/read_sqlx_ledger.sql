-- Which of foldlog's migrations an earlier build has recorded in sqlx's default ledger.
-- $1 bigint[] the versions of foldlog's migrations
-- $2 text[] their descriptions
-- returns rows bigint
-- role: owner
select m.version
from foldlog._sqlx_migrations m
join unnest($1::bigint[], $2::text[]) as own (version, description)
    on own.version = m.version and own.description = m.description
order by m.version
