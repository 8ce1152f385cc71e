-- Remembers what a view was created from.
-- $1 text the view's name
-- $2 text its DDL
-- $3 smallint the first event type of its projection
-- $4 smallint the event type before which to end
-- role: owner
insert into foldlog.views (name, definition, first_type, end_type)
values ($1, $2, $3, $4)
