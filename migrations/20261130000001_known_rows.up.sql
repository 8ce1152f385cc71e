-- An append whose new rows are known before it is sent inserts the event, claims it and writes its row in one statement. The snapshot of
-- that statement is older than the lock that keeps a reprojection from going live, so a volatile function, whose statements have newer
-- snapshots, looks at the generation after it has the lock.
create function share_live_generation(projection text, generation text, expected_repairs bigint) returns boolean
language plpgsql
volatile
as $$
begin
    perform pg_advisory_xact_lock_shared(generation_key(projection));
    if not exists (
        select
        from views g
        where g.name = generation
            and g.state = 'live'
            and g.repairs = expected_repairs
    ) then
        raise exception 'the generation % is not live any more, or rows of it were repaired', generation using errcode = 'FL005';
    end if;
    return true;
end
$$;

-- Undoes a statement that has not written all that belongs to its append.
create function require_fold(is_whole boolean) returns boolean
language plpgsql
volatile
as $$
begin
    if not is_whole then
        raise exception 'another transaction has changed a row, or claimed an event, of this append' using errcode = 'FL005';
    end if;
    return true;
end
$$;

-- Volatile now: a stable function does not see the events that the same statement has inserted.
alter function refuse_incomplete() volatile;

do $$
begin
    execute format('alter function share_live_generation(text, text, bigint) set search_path = %I, pg_temp', current_schema());
end
$$;

revoke execute on function share_live_generation(text, text, bigint), require_fold(boolean) from public;
grant execute on function share_live_generation(text, text, bigint), require_fold(boolean) to foldlog_command_inline;
