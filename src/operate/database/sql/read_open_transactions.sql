-- The transactions that have been open for long, the oldest first; those of sessions that this login may not look at are only counted.
-- $1 bigint for so many milliseconds
-- $2 bigint at most so many
-- returns rows (hidden, pid, application_name, state, since, has_written); the first has the count alone
-- role: foldlog_query
with found as materialized (
    select t.pid, t.application_name, t.state, t.since, t.has_written
    from foldlog.open_transactions() t
),
oldest as (
    select f.pid, f.application_name, f.state, f.since, f.has_written
    from found f
    where f.since < statement_timestamp() - make_interval(secs => $1::bigint / 1000.0)
    order by f.since
    limit $2
)
select
    (select count(*) from found where since is null) as hidden,
    null::integer as pid,
    null::text as application_name,
    null::text as state,
    null::timestamptz as since,
    null::boolean as has_written
union all
select null, o.pid, o.application_name, o.state, o.since, o.has_written
from oldest o
