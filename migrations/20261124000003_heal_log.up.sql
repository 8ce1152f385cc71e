-- Repairs a log that was restored into a cluster whose transaction counter is lower than the stored ids. Without this, stored
-- events would look as if they came from the future, new events would sort before old ones, and projections would skip new
-- events that a settled snapshot seems to cover.

-- The newest transaction id in the log: of an event, or of a settled snapshot, whose end may be above the newest event. Other
-- transactions advance the counter, too, and projections would never read a new event below that end.
create function log_newest_txid() returns bigint
language sql
stable
as $$
    select greatest(
        -- Qualified, because `order by txid` would refer to the bigint of the select list and sort the whole log.
        (select e.txid::text::bigint from events e order by e.txid desc, e.position desc limit 1),
        (select max(pg_snapshot_xmax(snapshot)::text::bigint) - 1 from settled),
        0
    )
$$;

-- Whether the cluster's counter is behind the log. Committed ids are always below the end of a current snapshot, so this is
-- never true in the cluster in which the events were appended.
create function log_is_behind() returns boolean
language sql
stable
as $$
    select log_newest_txid() >= pg_snapshot_xmax(log_snapshot())::text::bigint
$$;

-- Raises the offset until every running and every future transaction sorts above the log, and returns the offset. The lock
-- waits for running appends and blocks new ones until this commits, so no append stores an id with the old offset. The
-- function runs as its owner, because the hosts' roles may not write `log`, and any of them may be the first to connect.
create function heal_log() returns bigint
language plpgsql
volatile
security definer
-- Limits how long appends queue behind this function while it waits for another open transaction.
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

-- A function that runs as its owner must find tables in foldlog's schema first and temporary tables last: any role may create
-- a temporary table `log` with a trigger on it, and the trigger would run as the owner, too.
do $$
begin
    execute format('alter function heal_log() set search_path = %I, pg_temp', current_schema());
end
$$;
