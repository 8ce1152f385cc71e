do $$
begin
    execute format('alter database %I reset jit', current_database());
    execute format('alter database %I reset client_connection_check_interval', current_database());
    execute format('alter database %I reset tcp_keepalives_idle', current_database());
    execute format('alter database %I reset tcp_keepalives_interval', current_database());
    execute format('alter database %I reset tcp_keepalives_count', current_database());
end
$$;
