-- The application's own tables, in the schema `public`. Two of them have the names of foldlog's tables, which are in another
-- schema: `events` is what the theatre plays, `log` is what happened at the box office.
create table events (
    id uuid primary key,
    title text not null,
    free_seats integer not null,
    constraint events_free_seats_check check (free_seats >= 0)
);

create table log (
    logged_at timestamptz not null default now(),
    line text not null
);
