-- How many pages the log has.
-- returns bigint
-- role: foldlog_projection
select pg_relation_size('foldlog.events') / current_setting('block_size')::bigint
