-- A restored log in a cluster whose transaction counter is lower than the ids it brings: stored events would look as if
-- from the future, new ones would sort before old ones, and what a settled snapshot covers would be believed applied.

-- The newest transaction id that the log remembers, by an event or by a settled snapshot (whose end may lie above the
-- newest event: other transactions move the counter too, and a new event below it would never be looked at).
create function log_newest_txid() returns bigint
language sql
stable
as $$
    select greatest(
        -- Qualified: `order by txid` alone would mean the bigint of the select list, and sort the whole log.
        (select e.txid::text::bigint from events e order by e.txid desc, e.position desc limit 1),
        (select max(pg_snapshot_xmax(snapshot)::text::bigint) - 1 from settled),
        0
    )
$$;

-- Whether the counter has fallen behind the log. Committed ids are always below the end of a current snapshot, so in
-- the cluster where the log grew this is never true.
create function log_is_behind() returns boolean
language sql
stable
as $$
    select log_newest_txid() >= pg_snapshot_xmax(log_snapshot())::text::bigint
$$;

-- Raises the offset until every running and every future transaction sorts above the log; returns the offset. The lock
-- waits for appends under way and holds new ones back until this commits, so none can store an id of the old terms.
-- It runs as its owner: the hosts' roles may not write `log`, and any of them may be the first to connect.
create function heal_log() returns bigint
language plpgsql
volatile
security definer
-- A foreign transaction that is open on events must not queue all appends behind the healing for long.
set lock_timeout = '2s'
as $$
declare
    healed bigint;
begin
    lock table events in share row exclusive mode;
    if log_is_behind() then
        update log set txid_offset =
            log_newest_txid() + 1 - pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
    end if;
    select txid_offset into healed from log;
    return healed;
end
$$;

-- What runs as its owner looks up tables in the log's own schema, and among temporary ones last, not first: any role may
-- create a temporary table `log` with a trigger of its own on it.
do $$
begin
    execute format('alter function heal_log() set search_path = %I, pg_temp', current_schema());
end
$$;
