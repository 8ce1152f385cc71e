-- The doorbell. A NOTIFY in every append costs most of the append throughput (it takes a database-wide lock until the
-- commit is flushed), so the bell is inverted: an append rings only while a listener sleeps, that is, while it holds key
-- K exclusively. An append that finds K free holds it shared until its commit, so a listener that gets K knows that
-- every append which saw nobody asleep is committed and visible to its last look. K is 'foldlog' in ASCII.
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
