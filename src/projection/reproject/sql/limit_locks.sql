-- Bounds how long this transaction waits for each lock, because appends wait behind it.
-- role: foldlog_projection
select set_config('lock_timeout', '1s', true)
