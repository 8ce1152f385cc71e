-- The listener's session gives up on key K after this time: an append that runs long holds it shared.
-- role: foldlog_projection
select set_config('lock_timeout', '250ms', false)
