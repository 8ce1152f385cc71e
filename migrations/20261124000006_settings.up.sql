-- Settings that no session should have to send: a transaction-mode pooler refuses them at start-up or leaks them to the
-- next client. jit turned a claim of 7 ms into one of 450 ms, all of it compilation. A client that is gone is noticed
-- within seconds, so a vanished worker does not hold its claims. (Per-transaction limits are sent with BEGIN.)
do $$
begin
    execute format('alter database %I set jit = off', current_database());
    execute format('alter database %I set client_connection_check_interval = %L', current_database(), '5s');
    execute format('alter database %I set tcp_keepalives_idle = 10', current_database());
    execute format('alter database %I set tcp_keepalives_interval = 5', current_database());
    execute format('alter database %I set tcp_keepalives_count = 3', current_database());
end
$$;

-- The same limits as come with BEGIN, for logins that are one of the roles: they bound the statements that are a
-- transaction by themselves, too.
do $$
declare
    host text;
begin
    foreach host in array array['foldlog_command', 'foldlog_command_inline', 'foldlog_query', 'foldlog_projection'] loop
        execute format('alter role %I in database %I set lock_timeout = %L', host, current_database(), '5s');
        execute format('alter role %I in database %I set statement_timeout = %L', host, current_database(), '60s');
        execute format('alter role %I in database %I set idle_in_transaction_session_timeout = %L', host, current_database(), '10s');
    end loop;
exception when insufficient_privilege then null;
end
$$;

-- Tables are found by their names alone. Where they are not in `public`, every login of this database has to look there.
do $$
begin
    if current_schema() <> 'public' then
        execute format('alter database %I set search_path = %I, public', current_database(), current_schema());
    end if;
end
$$;
