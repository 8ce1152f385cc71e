-- Every insert into `events` refuses a log that was restored from another cluster and is not checked yet, also over a
-- connection that was open before the restore. On a logical replica, events get transaction ids of the replica.

-- The transaction that wrote this row. A restored or replicated row has the value of another cluster, so `written` differs
-- from `xmin`, and the log is not trusted until heal_log() has compared it with this cluster's counter. The comparison costs
-- an append nothing, because it reads the row anyway for the offset; a look at the newest event would cost a fifth.
alter table log add column written xid8 not null default pg_current_xact_id();

update log set written = pg_current_xact_id();

-- Keeps a trusted log trusted when another column changes. An update of an untrusted row leaves it untrusted.
create function mark_log() returns trigger
language plpgsql
as $$
begin
    new.written := pg_current_xact_id();
    return new;
end
$$;

create trigger log_written
before update on log
for each row
when (old.written::xid = old.xmin and new.written = old.written)
execute function mark_log();

-- The functions name foldlog's schema in their text. A search path among the settings of a function costs time in each call,
-- and these are called for rows.
do $outer$
declare
    home text := quote_ident(current_schema());
begin
    -- The id of this transaction with the log's offset, which is the default of events.txid. foldlog's own inserts call it only
    -- where there is an offset or the log is not trusted.
    execute replace($create$
        create or replace function {home}.log_txid() returns xid8
        language plpgsql
        volatile
        as $$
        declare
            added bigint;
        begin
            select txid_offset into added from {home}.log where written::xid = xmin;
            if not found then
                raise exception 'the log comes from another cluster, and its transaction ids are not checked yet'
                    using errcode = 'FL001', hint = 'a foldlog host that may append checks them when it connects; or call heal_log()';
            end if;
            return (pg_current_xact_id()::text::bigint + added)::text::xid8;
        end
        $$
    $create$, '{home}', home);

    -- The next append finds the log untrusted.
    execute replace($create$
        create function {home}.distrust_log() returns void
        language sql
        volatile
        as $$
            update {home}.log set written = '0' where written <> '0'
        $$
    $create$, '{home}', home);

    -- Raises the sequence of events.position to a position that was stored without it. The lock makes concurrent calls wait for
    -- each other, because setval() could lower what another session has raised.
    execute replace(replace($create$
        create function {home}.raise_position(stored bigint) returns void
        language plpgsql
        volatile
        as $$
        begin
            if stored > (select last_value from {sequence}) then
                perform pg_advisory_lock(hashtextextended('{sequence}', 0));
                if stored > (select last_value from {sequence}) then
                    perform setval('{sequence}', stored);
                end if;
                perform pg_advisory_unlock(hashtextextended('{sequence}', 0));
            end if;
        end
        $$
    $create$, '{home}', home), '{sequence}', pg_get_serial_sequence('events', 'position'));

    -- An insert that brings another transaction id than its own: only the owner may, who loads events of another log.
    execute replace($create$
        create function {home}.check_event_txid() returns trigger
        language plpgsql
        as $$
        declare
            own xid8 := (pg_current_xact_id()::text::bigint + (select txid_offset from {home}.log))::text::xid8;
        begin
            if new.txid = own then
                return new;
            end if;
            if not pg_has_role(current_user, (select relowner from pg_class where oid = tg_relid), 'usage') then
                raise exception 'events.txid must be the id of the inserting transaction'
                    using errcode = 'insufficient_privilege', hint = 'leave the column out';
            end if;
            if new.txid > own then
                perform {home}.distrust_log();
            end if;
            perform {home}.raise_position(new.position);
            return new;
        end
        $$
    $create$, '{home}', home);

    -- An event that logical replication applies: its txid is the publisher's, and means nothing to this cluster's snapshots.
    execute replace($create$
        create function {home}.receive_event() returns trigger
        language plpgsql
        as $$
        begin
            if not exists (select from {home}.log where written::xid = xmin) then
                perform {home}.heal_log();
            end if;
            new.txid := {home}.log_txid();
            perform {home}.raise_position(new.position);
            return new;
        end
        $$
    $create$, '{home}', home);

    -- A settled snapshot that ends after every transaction of this cluster: from another cluster, or wrong.
    execute replace($create$
        create function {home}.check_settled() returns trigger
        language plpgsql
        as $$
        begin
            if pg_snapshot_xmax(new.snapshot) <= pg_snapshot_xmax({home}.log_snapshot()) then
                return new;
            end if;
            if not pg_has_role(current_user, (select relowner from pg_class where oid = tg_relid), 'usage') then
                raise exception 'settled.snapshot must not end after the newest transaction'
                    using errcode = 'insufficient_privilege', hint = 'a worker settles what its own snapshot sees';
            end if;
            perform {home}.distrust_log();
            return new;
        end
        $$
    $create$, '{home}', home);

    execute replace($create$
        create function {home}.notice_rewrite() returns trigger
        language plpgsql
        as $$
        begin
            perform {home}.distrust_log();
            return null;
        end
        $$
    $create$, '{home}', home);
end
$outer$;

-- log_txid() had a search path among its settings.
alter function log_txid() reset search_path;

-- Rows of another cluster's snapshots say nothing here. Without a row, the next worker looks at all events again.
create function skip_row() returns trigger
language plpgsql
as $$
begin
    return null;
end
$$;

create trigger events_txid
before insert on events
for each row
when (new.txid <> pg_current_xact_id())
execute function check_event_txid();

create trigger events_replica
before insert on events
for each row
execute function receive_event();

alter table events enable replica trigger events_replica;

-- An owner can disable events_immutable and change transaction ids.
create trigger events_rewritten
after update on events
for each statement
execute function notice_rewrite();

alter table events enable always trigger events_rewritten;

create trigger settled_snapshot
before insert or update on settled
for each row
when (pg_snapshot_xmax(new.snapshot) > pg_snapshot_xmax(pg_current_snapshot()))
execute function check_settled();

create trigger settled_replica
before insert or update on settled
for each row
execute function skip_row();

alter table settled enable replica trigger settled_replica;

-- Ids from 2^62 on are left out: no counter reaches them, and the offset could not be raised above them.
create or replace function log_newest_txid() returns bigint
language sql
stable
as $$
    select greatest(
        (
            -- Qualified, because `order by txid` would refer to the bigint of the select list and sort the whole log.
            select e.txid::text::bigint
            from events e
            where e.txid < '4611686018427387904'::xid8
            order by e.txid desc, e.position desc
            limit 1
        ),
        (
            select max(pg_snapshot_xmax(snapshot)::text::bigint) - 1
            from settled
            where pg_snapshot_xmax(snapshot) < '4611686018427387904'::xid8
        ),
        0
    )
$$;

-- Whether heal_log() has work: the log is not trusted, or the cluster's counter is behind it.
create or replace function log_is_behind() returns boolean
language sql
stable
as $$
    select not exists (select from log where written::xid = xmin)
        or log_newest_txid() >= pg_snapshot_xmax(log_snapshot())::text::bigint
$$;

-- Checks a log that is not trusted, and raises the offset if the counter is behind. It locks nothing unless it has to: a
-- caller that keeps its transaction open must not stop appends. Appends to an untrusted log are refused, so the lock is there
-- for builds that do not look at `written`.
create or replace function heal_log() returns bigint
language plpgsql
volatile
security definer
-- Limits how long appends queue behind this function while it waits for another open transaction.
set lock_timeout = '2s'
as $$
declare
    healed bigint;
begin
    if log_is_behind() then
        if log_newest_txid() >= pg_snapshot_xmax(log_snapshot())::text::bigint then
            lock table events in share row exclusive mode;
        end if;
        -- Excludes another call.
        perform from log for update;
        perform raise_position((select max(position) from events));
        update log
        set written = pg_current_xact_id(),
            txid_offset = case
                when log_newest_txid() >= pg_snapshot_xmax(log_snapshot())::text::bigint
                then log_newest_txid() + 1 - pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                else txid_offset
            end
        where log_is_behind();
    end if;
    select txid_offset into healed from log;
    return healed;
end
$$;

do $$
declare
    name text;
begin
    foreach name in array array['log_newest_txid()', 'log_is_behind()', 'heal_log()'] loop
        execute format('alter function %s set search_path = %I, pg_temp', name, current_schema());
    end loop;
end
$$;

-- Positions that a replica received before this migration.
select raise_position((select max(position) from events));

-- Only roles that append or project need a log whose ids are above the restored ones; a reader needs nothing.
revoke execute on function heal_log() from foldlog_query;
revoke execute on function distrust_log(), raise_position(bigint) from public;
