-- Sets the defaults of the session's transactions, whatever those of the database and of the login are.
-- returns a row (isolation, read_only, deferrable)
-- role: owner
select
    set_config('default_transaction_isolation', 'read committed', false) as isolation,
    set_config('default_transaction_read_only', 'off', false) as read_only,
    set_config('default_transaction_deferrable', 'off', false) as deferrable
