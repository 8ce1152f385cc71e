-- The doorbell cannot refuse an append. Postgres refuses the commit of a transaction that notified while the queue of
-- notifications is full, because a session of any application in the cluster has not read it for long. So the trigger sends none
-- while the queue is half full (Postgres itself warns then), and an error in it is ignored; the block costs a subtransaction,
-- only where an append notifies. The listener polls in any case. What remains, as a queue that fills up until the commit, makes
-- the append fail with a limit, and the command host repeats it with foldlog_append.doorbell off.
create or replace function ring() returns trigger
language plpgsql
as $$
begin
    if pg_notification_queue_usage() < 0.5 then
        perform pg_notify('events:created', '');
    end if;
    return null;
exception when others then
    raise log 'the doorbell of foldlog failed: %', sqlerrm;
    return null;
end
$$;

do $$
begin
    execute format(
        'create or replace trigger events_doorbell after insert on events for each statement '
        'when (not pg_try_advisory_xact_lock_shared(%s) '
        'and current_setting(''foldlog_append.doorbell'', true) is distinct from ''off'') execute function ring()',
        doorbell_key()
    );
end
$$;
