-- Lost: the kinds of failures. The errors stay.
alter table parked drop column class;
