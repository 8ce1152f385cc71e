-- Settings of the whole database. `migrate` sets foldlog_migration.database_settings to on if nothing but foldlog lives in
-- the database, or if it was asked to by `migrate setup-database`. foldlog works without them, because its sessions and
-- transactions bring their own limits. They bound the statements of other clients in the same way: jit turned a claim of
-- 7 ms into one of 450 ms, all of it compilation, and keepalives let the server notice a vanished client within seconds.
do $$
declare
    host text;
begin
    if current_setting('foldlog_migration.database_settings', true) is distinct from 'on' then
        return;
    end if;
    execute format('alter database %I set jit = off', current_database());
    execute format('alter database %I set client_connection_check_interval = %L', current_database(), '5s');
    execute format('alter database %I set tcp_keepalives_idle = 10', current_database());
    execute format('alter database %I set tcp_keepalives_interval = 5', current_database());
    execute format('alter database %I set tcp_keepalives_count = 3', current_database());
    -- Up to Postgres 14 every role may create tables and functions in the schema `public`.
    execute format('revoke create on schema %I from public', current_schema());
    -- The limits that foldlog sends with BEGIN, for logins that are one of the roles: they also bound statements outside
    -- of transactions.
    begin
        foreach host in array array['foldlog_command', 'foldlog_command_inline', 'foldlog_query', 'foldlog_projection'] loop
            execute format('alter role %I in database %I set lock_timeout = %L', host, current_database(), '5s');
            execute format('alter role %I in database %I set statement_timeout = %L', host, current_database(), '60s');
            execute format(
                'alter role %I in database %I set idle_in_transaction_session_timeout = %L', host, current_database(), '10s'
            );
        end loop;
    exception when insufficient_privilege then null;
    end;
end
$$;
