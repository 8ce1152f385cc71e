-- The version of an aggregate's newest event.
-- $1 uuid the aggregate
-- returns rows (version integer), none if it has no event
-- role: foldlog_query
-- uses: events_aggregate_id_version_key
select e.version
from foldlog.events e
where e.aggregate_id = $1
order by e.version desc
limit 1
