-- Sets the defaults of the session's transactions, and lets its statements take as long as they need, whatever the defaults of the
-- database and of the login are: to create an index on a large log may take longer than they allow an application.
-- returns a row (isolation, read_only, deferrable, limits)
-- role: owner
select
    set_config('default_transaction_isolation', 'read committed', false) as isolation,
    set_config('default_transaction_read_only', 'off', false) as read_only,
    set_config('default_transaction_deferrable', 'off', false) as deferrable,
    -- A Postgres before 17 has no transaction_timeout.
    (
        select count(set_config(s.name, '0', false))
        from pg_settings s
        where s.name in ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout')
    ) as limits
