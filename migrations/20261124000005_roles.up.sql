-- One role with the least privileges for each kind of host. Roles belong to the cluster, so a migration of another database
-- may have created them already, or may create them concurrently: each block catches both errors.
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

-- For command hosts that fold inline: both roles together.
do $$
begin
    create role foldlog_command_inline nologin;
exception when duplicate_object or unique_violation then null;
end
$$;

-- Since Postgres 16 only the creator of a role may grant it, and that may be the owner of another database.
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

-- The migrating login may act as each role, so that one login is enough to start with. A superuser needs no grant. A login
-- that may not grant the roles, because another login created them, must be granted them by that login.
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

-- Every role may use the schema `public` of a new database, but no other schema, and not a `public` that was recreated.
do $$
begin
    execute format(
        'grant usage on schema %I to foldlog_command, foldlog_query, foldlog_projection', current_schema()
    );
end
$$;

-- Command hosts insert and read events, and read views (granted when a view is created).
grant select on log, views, settled to foldlog_command;
grant select on events to foldlog_command;
-- Without position, which only the database assigns.
grant insert (id, aggregate_id, version, type_id, payload, metadata, txid, created_at) on events to foldlog_command;

-- Query hosts only read.
grant select on log, events, views, locker, settled, parked to foldlog_query;

-- Projection hosts read events and write what they derive from them.
grant select on log, events, views to foldlog_projection;
grant select, insert, update, delete on locker, settled, parked to foldlog_projection;

-- Any host may be the first to connect to a restored log, so each role may heal it, and no other role needs to.
revoke execute on function heal_log() from public;
grant execute on function heal_log() to foldlog_command, foldlog_query, foldlog_projection;
