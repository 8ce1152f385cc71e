-- The triggers of views go with the function.
drop function refuse_incomplete() cascade;
drop function is_view_behind(text, smallint, smallint, xid8);
