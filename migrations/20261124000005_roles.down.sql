-- The roles themselves stay: they belong to the cluster, and another database may use them.
revoke all on log, events, views, locker, settled, parked from foldlog_command, foldlog_query, foldlog_projection;
revoke execute on function heal_log() from foldlog_command, foldlog_query, foldlog_projection;

do $$
begin
    execute format(
        'revoke usage on schema %I from foldlog_command, foldlog_query, foldlog_projection', current_schema()
    );
end
$$;

grant execute on function heal_log() to public;
