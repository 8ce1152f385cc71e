-- Generations: a reprojection fills a new table of a view beside the one that serves readers, with claims, lanes and parked aggregates
-- of its own, and then makes it serve them. A row of `views` is a generation. Its name is its lock domain and its table: `users`, then
-- `users#2`. Earlier builds know only the first one.
alter table views
    add column filled_at timestamptz,
    add column live_at timestamptz,
    -- Since when another generation is live instead.
    add column retired_at timestamptz,
    -- When a worker of code with this definition last projected a retired generation.
    add column used_at timestamptz,
    -- With how many changed rows the reprojection may still go live.
    add column max_changes bigint,
    -- How many rows a repair has replaced.
    add column repairs bigint not null default 0,
    -- The generation serves readers whose code has its definition.
    add column serves boolean not null default true,
    -- The highest number that a generation of the projection ever had. A number is not used again: a worker that has not noticed that its
    -- generation was cancelled must not work on another one.
    add column newest_number integer not null default 1,
    add column projection text generated always as (split_part(name, '#', 1)) stored,
    -- filling: a reprojection writes it. live: appends that fold inline write it. retired: another one is live. dropped: its table is
    -- gone, and its claims are being removed.
    add column state text not null default 'live',
    -- Identifies the definition whatever its spelling, and what the fold does with examples of events. `migrate` computes them.
    add column definition_hash text,
    add column fold_hash text,
    -- Statements that create the indexes that nothing needs while the table is filled.
    add column deferred_indexes text[] not null default '{}',
    add constraint views_state_check check (state in ('filling', 'live', 'retired', 'dropped'));

create index views_projection_idx on views (projection);
create unique index views_projection_key on views (projection) where state = 'live';
create unique index views_projection_definition_hash_key on views (projection, definition_hash) where serves;

-- The work of a reprojection: ranges of aggregate ids, each of which one worker at a time folds.
create table slices (
    -- How much of it is done.
    aggregates bigint not null default 0,
    events bigint not null default 0,
    -- Its events follow this place in the order of (aggregate_id, version) …
    first uuid not null,
    -- … and end with this one.
    last uuid not null,
    -- The last event that is done.
    done uuid not null,
    last_version integer not null,
    done_version integer not null default 0,
    is_finished boolean not null default false,
    lock_domain text not null,
    constraint slices_pkey primary key (lock_domain, first)
);

grant select on slices to foldlog_query, foldlog_command;
grant select, insert, update, delete on slices to foldlog_projection;

-- The key of the advisory lock that inline appends to a projection share, and that its reprojection takes to go live. It differs between
-- the schemas of a database.
create function generation_key(projection text) returns bigint
language plpgsql
stable
as $$
begin
    return hashtextextended(projection, 'views'::regclass::oid::bigint);
end
$$;

-- Creates the next generation of a projection, from the table of the newest one with the same definition, or finds the one that is being
-- filled. Workers may not create tables, so it runs as the owner; it copies a table that the owner has created, and takes no text that
-- it would run.
create function create_generation(wanted text, hash text, fold text, changes bigint) returns text
language plpgsql
volatile
security definer
as $$
declare
    home text := (select nspname from pg_namespace where oid = (select relnamespace from pg_class where oid = 'views'::regclass));
    old views;
    made text;
    suffix text;
    part record;
    later text[] := '{}';
begin
    -- The lock of `migrate` while it creates views.
    perform pg_advisory_xact_lock(hashtextextended('foldlog view definitions', 0));
    select v.name into made from views v
    where v.projection = wanted and v.definition_hash = hash and v.state = 'filling';
    if found then
        update views v
        set max_changes = changes,
            -- What another build has begun to fill keeps its mark.
            fold_hash = case
                when v.filled_at is null and not exists (select from slices s where s.lock_domain = v.name) then fold
                else v.fold_hash
            end
        where v.name = made;
        return made;
    end if;
    select v.* into old from views v
    where v.projection = wanted and v.definition_hash = hash and v.state in ('live', 'retired')
    order by v.state limit 1;
    if not found then
        return null;
    end if;
    update views v set newest_number = v.newest_number + 1 where v.projection = wanted;
    select '#' || max(v.newest_number) into suffix from views v where v.projection = wanted;
    made := wanted || suffix;
    execute format('create table %I (like %I including all excluding indexes)', made, old.name);
    for part in
        select
            i.indexrelid,
            i.indisunique,
            c.relname,
            split_part(c.relname, '#', 1) || suffix as new_name,
            k.contype,
            pg_get_constraintdef(k.oid) as constraint_def,
            pg_get_indexdef(i.indexrelid) as index_def,
            obj_description(i.indexrelid, 'pg_class') as comment
        from pg_index i
        join pg_class c on c.oid = i.indexrelid
        left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype in ('p', 'u', 'x')
        where i.indrelid = quote_ident(old.name)::regclass
    loop
        if part.contype is not null then
            execute format('alter table %I add constraint %I %s', made, part.new_name, part.constraint_def);
            continue;
        end if;
        part.index_def := format(
            'create %s %I on %I %s',
            case when part.indisunique then 'unique index' else 'index' end,
            part.new_name,
            made,
            substr(part.index_def, strpos(part.index_def, ' USING '))
        );
        if part.indisunique then
            execute part.index_def;
            execute format('comment on index %I is %L', part.new_name, part.comment);
        else
            later := later || part.index_def;
        end if;
    end loop;
    for part in
        select k.conname, pg_get_constraintdef(k.oid) as constraint_def
        from pg_constraint k
        where k.conrelid = quote_ident(old.name)::regclass and k.contype = 'f'
    loop
        execute format('alter table %I add constraint %I %s', made, part.conname, part.constraint_def);
    end loop;
    for part in
        select t.tgname, pg_get_triggerdef(t.oid) as trigger_def
        from pg_trigger t
        where t.tgrelid = quote_ident(old.name)::regclass and not t.tgisinternal and t.tgfoid <> 'refuse_incomplete'::regproc
    loop
        execute replace(part.trigger_def, format(' ON %I.%I ', home, old.name), format(' ON %I.%I ', home, made));
    end loop;
    execute format('grant select on %I to foldlog_command, foldlog_query', made);
    execute format('grant select, insert, update, delete on %I to foldlog_projection', made);
    insert into views (name, definition, definition_hash, fold_hash, first_type, end_type, state, serves, max_changes, deferred_indexes, newest_number)
    values (made, old.definition, hash, fold, old.first_type, old.end_type, 'filling', false, changes, later, substr(suffix, 2)::integer);
    return made;
end
$$;

-- `migrate` creates a generation with another definition from its DDL, which names the table and the indexes of the first generation. So
-- it runs the DDL in a schema of its own. This function then gives the table and its indexes the names of the generation, moves them to
-- foldlog's schema, and drops the other one, which fails if the DDL has created anything else.
create function adopt_generation(wanted text, generation text) returns void
language plpgsql
volatile
as $$
declare
    home text := (select n.nspname from pg_namespace n join pg_class c on c.relnamespace = n.oid where c.oid = 'views'::regclass);
    suffix text := substr(generation, length(wanted) + 1);
    part record;
begin
    for part in
        select c.relname, c.relkind
        from pg_class c
        where c.relnamespace = quote_ident(generation)::regnamespace and c.relkind in ('i', 'I', 'S')
    loop
        execute format(
            'alter %s %I.%I rename to %I',
            case part.relkind when 'S' then 'sequence' else 'index' end, generation, part.relname, part.relname || suffix
        );
    end loop;
    execute format('alter table %I.%I rename to %I', generation, wanted, generation);
    execute format('alter table %I.%I set schema %I', generation, generation, home);
    execute format('drop schema %I', generation);
end
$$;

-- Creates the indexes that nothing needed while the table was filled. From then on the generation is projected like any other.
create function finish_generation(wanted text) returns void
language plpgsql
volatile
security definer
as $$
declare
    later text[];
    create_index text;
begin
    select v.deferred_indexes into later from views v where v.name = wanted and v.state = 'filling' for update;
    foreach create_index in array coalesce(later, '{}') loop
        execute create_index;
    end loop;
    update views set deferred_indexes = '{}', filled_at = statement_timestamp() where name = wanted and state = 'filling';
end
$$;

-- Makes a filled generation the live one: it serves readers from the commit on. The caller holds the lock of generation_key(). A
-- generation of another definition goes on serving the code that has it.
create function go_live(wanted text) returns boolean
language plpgsql
volatile
security definer
as $$
declare
    new views;
begin
    select v.* into new from views v where v.name = wanted and v.state = 'filling' and v.filled_at is not null for update;
    if not found then
        return false;
    end if;
    update views v
    set serves = v.serves and v.definition_hash is distinct from new.definition_hash,
        state = case when v.state = 'live' then 'retired' else v.state end,
        retired_at = case when v.state = 'live' then statement_timestamp() else v.retired_at end
    where v.projection = new.projection and v.name <> wanted and (v.serves or v.state = 'live');
    update views v
    set serves = true, state = 'live', live_at = statement_timestamp()
    where v.name = wanted;
    return true;
end
$$;

-- Drops the table of a generation that is being filled, or that serves no reader any more. Its claims are removed after that.
create function drop_generation(wanted text) returns boolean
language plpgsql
volatile
security definer
as $$
begin
    update views set state = 'dropped', serves = false
    where name = wanted
        and (
            state = 'filling'
            -- A process that has not noticed yet may read the table within a transaction of its caller, which an error would abort.
            or state = 'retired'
                and greatest(retired_at, used_at) < statement_timestamp()
                    - case when serves then interval '1 hour' else interval '1 minute' end
        );
    if not found then
        return false;
    end if;
    execute format('drop table if exists %I', wanted);
    return true;
end
$$;

-- Forgets a generation whose table and claims are gone.
create function forget_generation(wanted text) returns void
language plpgsql
volatile
security definer
as $$
begin
    delete from views where name = wanted and state = 'dropped';
end
$$;

-- Remembers that a worker of code with the definition of a retired generation projects it.
create function touch_generation(wanted text) returns void
language plpgsql
volatile
security definer
as $$
begin
    update views set used_at = statement_timestamp() where name = wanted and state = 'retired';
end
$$;

-- Remembers that a repair replaces a row, so that an inline fold that has read the row before does not write it.
create function note_repair(wanted text) returns void
language plpgsql
volatile
security definer
as $$
begin
    update views set repairs = repairs + 1 where name = wanted;
end
$$;

do $$
declare
    name text;
begin
    foreach name in array array[
        'generation_key(text)',
        'create_generation(text, text, text, bigint)',
        'adopt_generation(text, text)',
        'finish_generation(text)',
        'go_live(text)',
        'drop_generation(text)',
        'forget_generation(text)',
        'touch_generation(text)',
        'note_repair(text)'
    ] loop
        execute format('alter function %s set search_path = %I, pg_temp', name, current_schema());
        if name not in ('generation_key(text)', 'adopt_generation(text, text)') then
            execute format('revoke execute on function %s from public', name);
            execute format('grant execute on function %s to foldlog_projection', name);
        end if;
    end loop;
end
$$;
