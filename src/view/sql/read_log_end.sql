-- The transaction id before which every event was appended, or null if there are no events.
-- returns text or null
-- role: foldlog_query
select pg_snapshot_xmax(foldlog.log_snapshot())::text
from foldlog.log
where exists (select from foldlog.events)
