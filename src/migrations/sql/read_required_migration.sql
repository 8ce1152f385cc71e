-- The newest migration that a build must know to work with the schema.
-- returns bigint
-- role: foldlog_query
select required_migration
from foldlog.log
