-- The encoding of the database.
-- returns text
-- role: owner
select current_setting('server_encoding')
