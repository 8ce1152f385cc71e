-- Sets the search path until the transaction ends.
-- $1 text the search path
-- role: owner
select set_config('search_path', $1, true)
