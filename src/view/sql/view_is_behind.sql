-- Whether the log has events of a projection that its view lacks, apart from those of parked aggregates.
-- $1 text the view's name
-- $2 smallint the first event type
-- $3 smallint the event type before which to end
-- returns bool
-- role: foldlog_query
select foldlog.is_view_behind($1, $2, $3, pg_snapshot_xmax(foldlog.log_snapshot()))
