-- Reads the connection's search path, to restore it later.
-- returns text
-- role: owner
select current_setting('search_path')
