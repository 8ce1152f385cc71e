-- What kind of failure has parked an aggregate, so that it can be shown where the error itself may quote a payload. Builds before
-- this migration leave it out.
alter table parked add column class text not null default 'unknown';
