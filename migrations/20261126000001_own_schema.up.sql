-- Functions find foldlog's tables whatever the caller's search path is: an application in the same database may have
-- tables `log` and `events`, too. Temporary tables come last, because any role may create one.
do $$
declare
    name text;
begin
    foreach name in array array['log_txid()', 'log_snapshot()', 'log_newest_txid()', 'log_is_behind()'] loop
        execute format('alter function %s set search_path = %I, pg_temp', name, current_schema());
    end loop;
end
$$;
