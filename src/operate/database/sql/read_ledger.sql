-- The migrations that are applied.
-- returns rows bigint
-- role: foldlog_query
select version
from foldlog.foldlog_migrations
where success
order by version
