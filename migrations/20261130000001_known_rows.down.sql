-- Nothing is lost: builds without these functions append and fold in several statements.
alter function refuse_incomplete() stable;
drop function require_fold(boolean);
drop function share_live_generation(text, text, bigint);
