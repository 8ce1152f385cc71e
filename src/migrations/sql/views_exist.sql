-- Whether foldlog's list of views exists.
-- returns bool
-- role: foldlog_query
select to_regclass('foldlog.views') is not null
