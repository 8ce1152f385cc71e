-- Least privilege, one role a kind of host. Roles belong to the cluster, so another database of the same cluster may
-- have created them already, at this very moment even: each block catches both forms of "is there".
do $$
begin
    create role foldlog_command nologin;
exception when duplicate_object or unique_violation then null;
end
$$;

do $$
begin
    create role foldlog_query nologin;
exception when duplicate_object or unique_violation then null;
end
$$;

do $$
begin
    create role foldlog_projection nologin;
exception when duplicate_object or unique_violation then null;
end
$$;

-- A command host that folds inline: both.
do $$
begin
    create role foldlog_command_inline nologin;
exception when duplicate_object or unique_violation then null;
end
$$;

-- From Postgres 16 on only who created them may grant them, and that may have been somebody else's database.
do $$
begin
    if not (
        pg_has_role('foldlog_command_inline', 'foldlog_command', 'member')
        and pg_has_role('foldlog_command_inline', 'foldlog_projection', 'member')
    ) then
        grant foldlog_command, foldlog_projection to foldlog_command_inline;
    end if;
end
$$;

-- Whoever migrates may act as each of them, so that one login is enough to begin with. (A superuser may anyway. A user
-- who may not grant them, because somebody else created them, is left to be granted them.)
do $$
begin
    if not (select rolsuper from pg_roles where rolname = current_user) then
        execute format(
            'grant foldlog_command, foldlog_command_inline, foldlog_query, foldlog_projection to %I', current_user
        );
    end if;
exception when insufficient_privilege then null;
end
$$;

-- Only `public` may be used by everybody, and not where it was created by hand.
do $$
begin
    execute format(
        'grant usage on schema %I to foldlog_command, foldlog_query, foldlog_projection', current_schema()
    );
end
$$;

-- Command: inserts and reads events, reads views (granted where a view is created).
grant select on log, views, settled to foldlog_command;
grant select on events to foldlog_command;
-- Not position: the log's order is the database's to give.
grant insert (id, aggregate_id, version, type_id, payload, metadata, txid, created_at) on events to foldlog_command;

-- Query: reads, and nothing else.
grant select on log, events, views, locker, settled, parked to foldlog_query;

-- Projection: reads events; writes what it derives from them.
grant select on log, events, views to foldlog_projection;
grant select, insert, update, delete on locker, settled, parked to foldlog_projection;

-- Any host may be the first to connect to a restored log, and nobody else has to heal it.
revoke execute on function heal_log() from public;
grant execute on function heal_log() to foldlog_command, foldlog_query, foldlog_projection;
