-- Sets the connection's search path, and tells migrations whether to change settings of the whole database.
-- $1 text the search path
-- $2 text on or off
-- role: owner
select set_config('search_path', $1, false), set_config('foldlog_migration.database_settings', $2, false)
