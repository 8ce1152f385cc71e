-- Appends over connections that were open before a restore are no longer refused.
drop trigger settled_replica on settled;
drop trigger settled_snapshot on settled;
drop trigger events_rewritten on events;
drop trigger events_replica on events;
drop trigger events_txid on events;
drop trigger log_written on log;

create or replace function log_txid() returns xid8
language sql
volatile
as $$
    select (pg_current_xact_id()::text::bigint + txid_offset)::text::xid8
    from log
$$;

create or replace function log_newest_txid() returns bigint
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

create or replace function log_is_behind() returns boolean
language sql
stable
as $$
    select log_newest_txid() >= pg_snapshot_xmax(log_snapshot())::text::bigint
$$;

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
    lock table events in share row exclusive mode;
    if log_is_behind() then
        update log set txid_offset =
            log_newest_txid() + 1 - pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
    end if;
    select txid_offset into healed from log;
    return healed;
end
$$;

do $$
declare
    name text;
begin
    foreach name in array array['log_txid()', 'log_newest_txid()', 'log_is_behind()', 'heal_log()'] loop
        execute format('alter function %s set search_path = %I, pg_temp', name, current_schema());
    end loop;
end
$$;

drop function skip_row();
drop function notice_rewrite();
drop function check_settled();
drop function receive_event();
drop function check_event_txid();
drop function raise_position(bigint);
drop function distrust_log();
drop function mark_log();

alter table log drop column written;

grant execute on function heal_log() to foldlog_query;
