-- What lanes have settled is lost, because one row per projection cannot say it: workers read the log again and claim nothing
-- twice.
delete from settled;

drop function heal_slots();
drop index parked_lock_domain_next_try_idx;
alter table log drop column slots;

alter table settled
    drop constraint settled_first_last_check,
    drop constraint settled_pkey,
    add constraint settled_pkey primary key (lock_domain),
    alter column snapshot drop default,
    drop column last,
    drop column first,
    drop column turn,
    drop column position,
    drop column txid;
