-- A rule over all rows of a view holds only if the view has all rows. When the index of such a rule is created while the log has
-- events, `migrate` puts a trigger with this function on the view's table: appends that fold inline are refused until the
-- projection has folded what was in the log then.

-- The arguments: the projection's name, the first event type, the type before which to end, and the transaction id before which
-- an event was in the log.
create function refuse_incomplete() returns trigger
language plpgsql
stable
as $$
declare
    own xid8 := log_txid();
begin
    -- Catch-ups write the view, too, but they append nothing.
    if not exists (select from events e where e.txid = own) then
        return null;
    end if;
    if is_view_behind(tg_argv[0], tg_argv[1]::smallint, tg_argv[2]::smallint, tg_argv[3]::xid8) then
        raise exception 'the view % has not caught up since its table was created', tg_argv[0]
            using errcode = 'FL002', hint = 'the next catch-up completes it';
    end if;
    return null;
end
$$;

-- Whether an event before `horizon` is neither claimed nor of a parked aggregate.
create function is_view_behind(projection text, first_type smallint, end_type smallint, horizon xid8) returns boolean
language plpgsql
stable
as $$
begin
    return exists (
        select
        from events e
        where e.txid < horizon
            and e.txid >= coalesce(
                (
                    select pg_snapshot_xmin(s.snapshot)
                    from settled s
                    where s.lock_domain = projection
                    order by pg_snapshot_xmin(s.snapshot)
                    limit 1
                ),
                '0'
            )
            and e.type_id >= first_type
            and e.type_id < end_type
            and not exists (
                select
                from locker l
                where l.event_id = e.id
                    and l.aggregate_id = e.aggregate_id
                    and l.lock_domain = projection
            )
            and not exists (
                select
                from parked p
                where p.lock_domain = projection
                    and p.aggregate_id = e.aggregate_id
            )
    );
end
$$;

do $$
begin
    execute format('alter function refuse_incomplete() set search_path = %I, pg_temp', current_schema());
    execute format(
        'alter function is_view_behind(text, smallint, smallint, xid8) set search_path = %I, pg_temp', current_schema()
    );
end
$$;
