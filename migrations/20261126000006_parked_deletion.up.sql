-- Deleting a row of `parked` by hand means "retry now". The events that passes have skipped because of the row are behind the
-- settled snapshot, so no pass would find them again: only a retry folds them.

-- Lets a deletion through if it can hide no event: after a retry that has folded the whole chain, or where nothing is settled.
-- Claims are a prefix of an aggregate's versions, so the newest event tells whether all are claimed.
create function retry_instead() returns trigger
language plpgsql
as $$
declare
    hidden boolean := false;
begin
    if exists (select from settled s where s.lock_domain = old.lock_domain) then
        select not exists (
            select
            from locker l
            where l.event_id = newest.id
                and l.aggregate_id = newest.aggregate_id
                and l.lock_domain = old.lock_domain
        )
        into hidden
        from (
            select e.id, e.aggregate_id
            from events e
            where e.aggregate_id = old.aggregate_id
                and e.version >= old.version
                and not exists (
                    select
                    from views v
                    where v.name = old.lock_domain
                        and (e.type_id < v.first_type or e.type_id >= v.end_type)
                )
                -- An event that is not settled is found by the next batch. A row may also settle a part of one more transaction:
                -- its columns txid and position, which a later migration adds.
                and exists (
                    select
                    from settled s, to_jsonb(s) as also
                    where s.lock_domain = old.lock_domain
                        and (
                            pg_visible_in_snapshot(e.txid, s.snapshot)
                            or (also ->> 'txid' = e.txid::text and e.position <= (also ->> 'position')::bigint)
                        )
                )
            order by e.version desc
            limit 1
        ) newest;
        -- The snapshot of such a transaction may be older than the newest settled one.
        hidden := coalesce(hidden, false) or current_setting('transaction_isolation') <> 'read committed';
    end if;
    if not hidden then
        return old;
    end if;
    update parked
    set next_try = statement_timestamp()
    where lock_domain = old.lock_domain
        and aggregate_id = old.aggregate_id;
    raise warning 'aggregate % stays parked in %: the next catch-up retries it', old.aggregate_id, old.lock_domain
        using hint = 'a retry folds its events and then deletes the row';
    return null;
end
$$;

-- Passes rely on the rows of parked aggregates, so a row never changes to another aggregate, and all rows never vanish at once.
create function refuse_unparking() returns trigger
language plpgsql
as $$
begin
    raise exception 'parked aggregates cannot be renamed or truncated'
        using errcode = 'insufficient_privilege', hint = 'delete their rows: the next catch-up retries them';
end
$$;

create trigger parked_retried
before delete on parked
for each row execute function retry_instead();

create trigger parked_renamed
before update of lock_domain, aggregate_id on parked
for each row
when ((old.lock_domain, old.aggregate_id) is distinct from (new.lock_domain, new.aggregate_id))
execute function refuse_unparking();

create trigger parked_truncated
before truncate on parked
for each statement execute function refuse_unparking();

do $$
begin
    execute format('alter function retry_instead() set search_path = %I, pg_temp', current_schema());
end
$$;
