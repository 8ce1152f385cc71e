-- Lets the statements of this transaction take as long as they need.
-- role: foldlog_projection
select set_config('statement_timeout', '0', true)
