do $$
begin
    if current_schema() <> 'public' then
        execute format('alter database %I reset search_path', current_database());
    end if;
end
$$;

do $$
declare
    host text;
begin
    foreach host in array array['foldlog_command', 'foldlog_command_inline', 'foldlog_query', 'foldlog_projection'] loop
        execute format('alter role %I in database %I reset all', host, current_database());
    end loop;
exception when insufficient_privilege then null;
end
$$;

do $$
begin
    execute format('alter database %I reset jit', current_database());
    execute format('alter database %I reset client_connection_check_interval', current_database());
    execute format('alter database %I reset tcp_keepalives_idle', current_database());
    execute format('alter database %I reset tcp_keepalives_interval', current_database());
    execute format('alter database %I reset tcp_keepalives_count', current_database());
end
$$;
