-- Generations: a reprojection fills a new table of a view beside the one that serves readers, with claims, lanes and parked aggregates
-- of its own, and then makes it serve them. A row of `views` is a generation. Its name is its lock domain and its table: `users`, then
-- `users#2`. Earlier builds know only the first one.
alter table views
    add column filled_at timestamptz,
    -- Since when another generation is live instead.
    add column retired_at timestamptz,
    -- When a worker of code with this definition last projected a retired generation.
    add column used_at timestamptz,
    -- How many rows a repair has replaced.
    add column repairs bigint not null default 0,
    -- The generation serves readers whose code has its definition.
    add column serves boolean not null default true,
    -- The highest number that a generation of the projection ever had. A number is not used again: a worker that has not noticed that its
    -- generation was cancelled must not work on another one.
    add column newest_number integer not null default 1,
    add column projection text generated always as (split_part(name, '#', 1)) stored,
    -- filling: a reprojection writes it. live: appends that fold inline write it. retired: another one is live. dropped: no worker begins
    -- anything with it any more; its claims and its table are being removed.
    add column state text not null default 'live',
    -- Identifies the definition whatever its spelling, and what the fold does with examples of events. `migrate` computes them.
    add column definition_hash text,
    add column fold_hash text,
    -- The claims of a dropped generation are removed from the pages of `locker` before this one, as long as its file is this one.
    add column claims_page bigint not null default 0,
    add column claims_file oid,
    -- When the table of a dropped generation could not be dropped. It is tried again after a while.
    add column removal_failed_at timestamptz,
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

-- The name that the table or an index of a generation has. Postgres would cut a longer one off, and then it would be the name of another.
create function generation_name(base text, suffix text) returns text
language plpgsql
immutable
as $$
begin
    if octet_length(base || suffix) > 63 then
        raise exception 'the name % is too long for a table with generations', base
            using errcode = 'name_too_long', hint = 'Rename it: 57 bytes leave room for the number of a generation.';
    end if;
    return base || suffix;
end
$$;

-- The indexes of a generation that another one with the same definition has not, or has with another definition or comment.
create function missing_indexes(source text, target text) returns table (
    new_name text,
    is_unique boolean,
    -- The definition of a plain index, or that of a constraint with the storage parameters, which it leaves out.
    index_def text,
    constraint_def text,
    parameters text,
    comment text,
    -- Whether the index is there, and then whether it is another one.
    is_present boolean,
    differs boolean
)
language plpgsql
stable
as $$
declare
    suffix text := '#' || split_part(target, '#', 2);
    twice text;
begin
    select min(c.relname) || ' and ' || max(c.relname) into twice
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    where i.indrelid = quote_ident(source)::regclass
        and i.indisvalid
    group by split_part(c.relname, '#', 1)
    having count(*) > 1
    limit 1;
    if twice is not null then
        raise exception 'the indexes % of the table % would have the same name in the table %', twice, source, target
            using errcode = 'FL003', hint = 'Rename or drop one of them: a generation replaces what follows the "#" in the name of an index.';
    end if;
    return query
    with described as materialized (
        select
            i.indrelid,
            i.indisvalid,
            c.relname::text as name,
            i.indisunique as is_unique,
            case
                when k.oid is null then substr(pg_get_indexdef(c.oid), strpos(pg_get_indexdef(c.oid), ' USING '))
            end as index_def,
            pg_get_constraintdef(k.oid) as constraint_def,
            case
                when k.oid is not null then (
                    select string_agg(format('%I = %L', o.option_name, o.option_value), ', ' order by o.option_name)
                    from pg_options_to_table(c.reloptions) o
                )
            end as parameters,
            obj_description(c.oid, 'pg_class') as comment
        from pg_index i
        join pg_class c on c.oid = i.indexrelid
        left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype in ('p', 'u', 'x')
        where i.indrelid in (quote_ident(source)::regclass, quote_ident(target)::regclass)
    )
    select
        wanted.new_name,
        wanted.is_unique,
        wanted.index_def,
        wanted.constraint_def,
        wanted.parameters,
        wanted.comment,
        found.name is not null as is_present,
        differs.differs
    from (
        select d.*, generation_name(split_part(d.name, '#', 1), suffix) as new_name
        from described d
        where d.indrelid = quote_ident(source)::regclass
            and d.indisvalid
    ) wanted
    left join described found on found.name = wanted.new_name and found.indrelid = quote_ident(target)::regclass
    cross join lateral (
        select (found.is_unique, found.index_def, found.constraint_def, found.parameters)
            is distinct from (wanted.is_unique, wanted.index_def, wanted.constraint_def, wanted.parameters) as differs
    ) differs
    where differs.differs
        or found.comment is distinct from wanted.comment
    order by wanted.new_name;
end
$$;

-- Creates an index that a generation has for another one: one that rejects rows, or one that does not. It returns false if there is none.
create function copy_index(source text, target text, rules boolean) returns boolean
language plpgsql
volatile
as $$
declare
    part record;
begin
    select m.* into part
    from missing_indexes(source, target) m
    where rules = (m.is_unique or m.constraint_def is not null)
    limit 1;
    if not found then
        return false;
    end if;
    if part.is_present and part.differs then
        if exists (select from pg_constraint k where k.conrelid = quote_ident(target)::regclass and k.conname = part.new_name) then
            execute format('alter table %I drop constraint %I', target, part.new_name);
        else
            execute format('drop index %I', part.new_name);
        end if;
    end if;
    if not part.differs then
        null;
    elsif part.constraint_def is not null then
        execute format('alter table %I add constraint %I %s', target, part.new_name, part.constraint_def);
        if part.parameters is not null then
            execute format('alter index %I set (%s)', part.new_name, part.parameters);
        end if;
    else
        execute format(
            'create %s %I on %I %s',
            case when part.is_unique then 'unique index' else 'index' end, part.new_name, target, part.index_def
        );
    end if;
    execute format('comment on index %I is %L', part.new_name, part.comment);
    -- The callers repeat this until nothing is missing. Another transaction may change the other index in the meantime: then the next
    -- call creates this one anew.
    if exists (
        select
        from missing_indexes(source, target) m
        where (m.new_name, m.is_unique, m.index_def, m.constraint_def, m.parameters, m.comment)
            is not distinct from
            (part.new_name, part.is_unique, part.index_def, part.constraint_def, part.parameters, part.comment)
    ) then
        raise exception 'the index % was created like that of the table %, and differs from it nevertheless', part.new_name, source
            using errcode = 'FL004', hint = 'Compare the two with pg_get_indexdef and pg_get_constraintdef.';
    end if;
    return true;
end
$$;

-- The generation whose table and indexes those of another one are copied from: one of the same definition that serves readers, or did.
create function source_of(wanted text) returns text
language plpgsql
stable
as $$
begin
    return (select o.name
    from views v
    join views o on o.projection = v.projection and o.definition_hash = v.definition_hash
    where v.name = wanted
        and o.name <> wanted
        and o.state in ('live', 'retired')
    order by o.serves desc, o.state, o.name
    limit 1);
end
$$;

-- Creates the next generation of a projection, from the table of the newest one with the same definition, or finds the one that is being
-- filled. Workers may not create tables, so it runs as the owner; it copies a table that the owner has created, and takes no text that
-- it would run.
create function create_generation(wanted text, hash text, fold text) returns text
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
begin
    -- The lock of `migrate` while it creates views.
    perform pg_advisory_xact_lock(hashtextextended('foldlog view definitions', 0));
    select v.name into made from views v
    where v.projection = wanted and v.definition_hash = hash and v.state = 'filling';
    if found then
        -- What another build has begun to fill keeps its mark.
        update views v
        set fold_hash = fold
        where v.name = made
            and v.fold_hash is distinct from fold
            and v.filled_at is null
            and not exists (select from slices s where s.lock_domain = v.name);
        return made;
    end if;
    select v.* into old from views v
    where v.projection = wanted and v.definition_hash = hash and v.state in ('live', 'retired')
    order by v.serves desc, v.state, v.name limit 1;
    if not found then
        return null;
    end if;
    loop
        update views v set newest_number = v.newest_number + 1 where v.projection = wanted;
        select '#' || max(v.newest_number) into suffix from views v where v.projection = wanted;
        made := generation_name(wanted, suffix);
        -- A dump that was restored into this database knows nothing of later generations, and leaves their tables.
        exit when to_regclass(quote_ident(made)) is null;
    end loop;
    execute format('create table %I (like %I including all excluding indexes)', made, old.name);
    -- The indexes that reject no row are created when the table is filled.
    while copy_index(old.name, made, true) loop
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
    insert into views (name, definition, definition_hash, fold_hash, first_type, end_type, state, serves, newest_number)
    values (made, old.definition, hash, fold, old.first_type, old.end_type, 'filling', false, substr(suffix, 2)::integer);
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
            case part.relkind when 'S' then 'sequence' else 'index' end, generation, part.relname, generation_name(part.relname, suffix)
        );
    end loop;
    execute format('alter table %I.%I rename to %I', generation, wanted, generation);
    execute format('alter table %I.%I set schema %I', generation, generation, home);
    execute format('drop schema %I', generation);
end
$$;

-- Creates one of the indexes that the table of a generation lacks, one that rejects rows or one that does not; false if it has all of
-- them. It does not lock the row of the generation: an index takes long, and the generation may be cancelled in the meantime.
create function complete_generation(wanted text, rules boolean) returns boolean
language plpgsql
volatile
security definer
as $$
declare
    source text := source_of(wanted);
begin
    if source is null or not exists (select from views v where v.name = wanted and v.state = 'filling') then
        return false;
    end if;
    return copy_index(source, wanted, rules);
end
$$;

-- Says that a generation is filled. From then on it is projected like any other.
create function finish_generation(wanted text) returns void
language plpgsql
volatile
security definer
as $$
begin
    update views set filled_at = statement_timestamp() where name = wanted and state = 'filling';
end
$$;

-- Makes a filled generation the live one: it serves readers from the commit on. The caller holds the lock of generation_key(). A
-- generation of another definition goes on serving the code that has it. It returns false if the generation is not there any more, or
-- lacks an index that was created in the meantime: it may be that of a set rule.
create function go_live(wanted text) returns boolean
language plpgsql
volatile
security definer
as $$
declare
    new views;
    source text;
begin
    select v.* into new from views v where v.name = wanted and v.state = 'filling' and v.filled_at is not null for update;
    if not found then
        return false;
    end if;
    source := source_of(wanted);
    if source is not null and exists (select from missing_indexes(source, wanted)) then
        return false;
    end if;
    update views v
    set serves = v.serves and v.definition_hash is distinct from new.definition_hash,
        state = case when v.state = 'live' then 'retired' else v.state end,
        retired_at = case when v.state = 'live' then statement_timestamp() else v.retired_at end
    where v.projection = new.projection and v.name <> wanted and (v.serves or v.state = 'live');
    update views v
    set serves = true, state = 'live'
    where v.name = wanted;
    return true;
end
$$;

-- Marks a generation as dropped that is being filled, or that serves no reader any more; returns whether it is marked. From the commit
-- on no worker begins anything with it, so that what workers do at the moment is all that its removal has to wait for.
create function abandon_generation(wanted text) returns boolean
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
    return exists (select from views where name = wanted and state = 'dropped');
end
$$;

-- Removes the claims of a dropped generation from the next pages of `locker`; returns whether these were the last ones, or null if the
-- generation is not dropped. It remembers the place, unless the table was rewritten, which moves the claims.
create function drop_claims(wanted text, pages bigint) returns boolean
language plpgsql
volatile
security definer
as $$
declare
    file oid := pg_relation_filenode('locker');
    first_page bigint;
begin
    select case when v.claims_file = file then v.claims_page else 0 end into first_page
    from views v
    where v.name = wanted and v.state = 'dropped'
    for update;
    if not found then
        return null;
    end if;
    delete from locker
    where ctid >= format('(%s,0)', least(first_page, 4294967295))::tid
        and ctid < format('(%s,0)', least(first_page + pages, 4294967295))::tid
        and lock_domain = wanted;
    update views set claims_page = first_page + pages, claims_file = file where name = wanted;
    return pg_relation_size('locker') <= (first_page + pages) * current_setting('block_size')::bigint;
end
$$;

-- Drops the table of a generation whose claims are gone, and forgets the generation.
create function drop_generation(wanted text) returns void
language plpgsql
volatile
security definer
as $$
begin
    delete from views where name = wanted and state = 'dropped';
    if found then
        execute format('drop table if exists %I', wanted);
    end if;
end
$$;

-- Remembers that the table of a dropped generation could not be dropped.
create function postpone_removal(wanted text) returns void
language plpgsql
volatile
security definer
as $$
begin
    update views set removal_failed_at = statement_timestamp() where name = wanted and state = 'dropped';
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

-- Remembers that a repair replaces a row, so that an inline fold that has read the row before does not write it. It returns false if the
-- generation is dropped; if not, it cannot be before the repair commits.
create function note_repair(wanted text) returns boolean
language plpgsql
volatile
security definer
as $$
begin
    update views set repairs = repairs + 1 where name = wanted and state <> 'dropped';
    return found;
end
$$;

do $$
declare
    name text;
begin
    foreach name in array array[
        'generation_key(text)',
        'generation_name(text, text)',
        'missing_indexes(text, text)',
        'copy_index(text, text, boolean)',
        'source_of(text)',
        'adopt_generation(text, text)',
        'create_generation(text, text, text)',
        'complete_generation(text, boolean)',
        'finish_generation(text)',
        'go_live(text)',
        'abandon_generation(text)',
        'drop_claims(text, bigint)',
        'drop_generation(text)',
        'postpone_removal(text)',
        'touch_generation(text)',
        'note_repair(text)'
    ] loop
        execute format('alter function %s set search_path = %I, pg_temp', name, current_schema());
        if (select p.prosecdef from pg_proc p where p.oid = name::regprocedure) then
            execute format('revoke execute on function %s from public', name);
            execute format('grant execute on function %s to foldlog_projection', name);
        end if;
    end loop;
end
$$;
