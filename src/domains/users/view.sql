create table users (
    id uuid not null,
    version integer not null,
    username text not null,
    email text not null,
    -- argon2id, a PHC string; never leaves the database.
    password_hash text,
    constraint users_pkey primary key (id)
);

create index users_username_idx on users (username);
