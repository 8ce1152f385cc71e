-- Views are disposable and recorded here only: they go first, or the next `up` would find tables it does not know.
do $$
declare
    view record;
begin
    for view in select name from views loop
        execute format('drop table if exists %I', view.name);
    end loop;
end
$$;

drop table views;
drop table parked;
drop table settled;
drop table locker;
