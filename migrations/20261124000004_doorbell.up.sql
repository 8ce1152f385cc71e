-- The doorbell. A NOTIFY in every append would cost most of the append throughput, because it takes a database-wide lock
-- until the commit is flushed. So an append notifies only while a listener sleeps, which is while the listener holds the
-- advisory lock K exclusively. An append that finds K free holds it shared until its commit. So when a listener gets K, every
-- append that found K free has committed, and the listener's last poll sees it. K is 'foldlog' in ASCII.
create function ring() returns trigger
language plpgsql
as $$
begin
    perform pg_notify('events:created', '');
    return null;
end
$$;

create trigger events_doorbell
after insert on events
for each statement
when (not pg_try_advisory_xact_lock_shared(28832958956466023))
execute function ring();
