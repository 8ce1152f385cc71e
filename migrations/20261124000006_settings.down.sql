do $$
declare
    host text;
begin
    if current_setting('foldlog_migration.database_settings', true) is distinct from 'on' then
        return;
    end if;
    execute format('alter database %I reset jit', current_database());
    execute format('alter database %I reset client_connection_check_interval', current_database());
    execute format('alter database %I reset tcp_keepalives_idle', current_database());
    execute format('alter database %I reset tcp_keepalives_interval', current_database());
    execute format('alter database %I reset tcp_keepalives_count', current_database());
    begin
        foreach host in array array['foldlog_command', 'foldlog_command_inline', 'foldlog_query', 'foldlog_projection'] loop
            execute format('alter role %I in database %I reset all', host, current_database());
        end loop;
    exception when insufficient_privilege then null;
    end;
end
$$;
