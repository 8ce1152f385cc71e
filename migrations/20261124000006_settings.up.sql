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
