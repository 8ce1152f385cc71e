-- Operators no longer see the migrations and the open transactions; the rest of the report stays.
drop function open_transactions();
revoke select on foldlog_migrations from foldlog_query;
