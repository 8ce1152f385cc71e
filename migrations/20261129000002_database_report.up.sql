-- What operators see of the database: which migrations are applied, and which transactions are open. The newest events of the feed, and
-- vacuum, wait for such a transaction.
grant select on foldlog_migrations to foldlog_query;

-- The open transactions of this database, without their statements, which may contain secrets. `since` is null for a session that the
-- owner of this function may not look at, whether it has a transaction or not. A prepared transaction has no session. The function runs
-- as its owner, because the role of a host may look at no other session.
create function open_transactions()
returns table (pid integer, application_name text, state text, since timestamptz, has_written boolean)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select a.pid, a.application_name, a.state, a.xact_start, a.backend_xid is not null
    from pg_stat_activity a
    where a.datname = current_database()
        and a.pid <> pg_backend_pid()
        -- A session that may not be looked at has no type.
        and (a.backend_type is null or (a.backend_type = 'client backend' and a.xact_start is not null))
    union all
    select null, null, 'prepared', p.prepared, true
    from pg_prepared_xacts p
    where p.database = current_database()
$$;

revoke execute on function open_transactions() from public;
grant execute on function open_transactions() to foldlog_query;
