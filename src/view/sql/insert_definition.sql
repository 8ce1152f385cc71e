-- Remembers what a view was created from.
-- $1 text the view's name
-- $2 text its DDL
-- role: owner
insert into foldlog.views (name, definition)
values ($1, $2)
