-- Deleting a row of `parked` by hand loses its events again.
drop trigger parked_truncated on parked;
drop trigger parked_renamed on parked;
drop trigger parked_retried on parked;
drop function refuse_unparking();
drop function retry_instead();
