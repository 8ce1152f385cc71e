-- Sends no notification for the appends of this transaction: see the trigger events_doorbell.
-- returns text
-- role: foldlog_command
select set_config('foldlog_append.doorbell', 'off', true)
