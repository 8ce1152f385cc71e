-- Reads the search path of the transaction, to restore it after the DDL of a view has run in a schema of its own.
-- returns text
-- role: owner
select current_setting('search_path')
