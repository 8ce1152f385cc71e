-- The process that serves the session, for the second client in the check of a pooler.
-- returns int4
-- role: foldlog_query
select pg_backend_pid()
