//! What Postgres knows about the tables when it plans.

use crate::support::TestDb;

/// The state of `pg_class.reltuples` and `pg_statistic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statistics {
    /// No table was ever vacuumed or analyzed: Postgres guesses from the size of the file.
    None,
    /// All tables were vacuumed and analyzed while they were empty.
    OfEmptyTables,
    /// The number of rows is known, the distribution of values is not.
    OfARestore,
    /// All tables were vacuumed and analyzed with what they hold now.
    Analyzed,
}

/// Fills the tables if wanted, and brings their statistics into this state.
pub(super) async fn prepare(db: &TestDb, statistics: Statistics, filled: bool) {
    // An autovacuum during the test would bring what the state is meant to lack.
    db.run(
        "do $$
         declare name text;
         begin
             for name in select oid::regclass from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace loop
                 execute format('alter table %s set (autovacuum_enabled = off)', name);
             end loop;
         end $$",
    )
    .await;
    if statistics == Statistics::OfEmptyTables {
        db.run("vacuum analyze").await;
    }
    if filled {
        fill(db, events()).await;
    }
    match statistics {
        Statistics::OfEmptyTables => {}
        Statistics::Analyzed => db.run("vacuum analyze").await,
        Statistics::OfARestore => {
            db.run("vacuum analyze").await;
            forget(db).await;
        }
        Statistics::None => {
            forget(db).await;
            db.run(
                "update pg_class set reltuples = -1, relpages = 0, relallvisible = 0 \
                 where relkind = 'r' and relnamespace = 'public'::regnamespace",
            )
            .await;
        }
    }
}

/// Removes the distribution of values of foldlog's tables.
async fn forget(db: &TestDb) {
    db.run(
        "delete from pg_statistic where starelid in \
         (select oid from pg_class where relnamespace = 'public'::regnamespace)",
    )
    .await;
}

fn events() -> u32 {
    let events = std::env::var("PLANS_EVENTS").map(|text| text.parse().unwrap());
    events.unwrap_or(10_000)
}

/// Ten events per aggregate, in transactions of 1,000 events. All but the last thousandth is claimed, every twentieth aggregate is
/// parked, and a thousand projections have settled something.
async fn fill(db: &TestDb, events: u32) {
    db.run(&format!(
        "insert into events (id, aggregate_id, version, type_id, payload, txid)
             select gen_random_uuid(), md5(concat(n % ({events} / 10)))::uuid, 1 + n / ({events} / 10), 1002,
                 jsonb_build_object('username', 'user ' || n), (1000 + n / 1000)::text::xid8
             from generate_series(0, {events} - 1) as n;
         insert into locker (event_id, aggregate_id, lock_domain)
             select id, aggregate_id, 'users'
             from events
             order by position
             limit {events} - {events} / 1000;
         insert into users (id, version, username, email)
             select aggregate_id, max(version), 'user', aggregate_id || '@example.org'
             from events
             group by aggregate_id;
         insert into parked (lock_domain, aggregate_id, event_id, version, error, next_try)
             select 'users', aggregate_id, id, version, 'it could not be folded', statement_timestamp() + interval '1 h'
             from events
             where version = 10
             order by position
             limit {events} / 200;
         insert into settled (lock_domain, snapshot)
             select 'projection ' || n, '1000:1000:'
             from generate_series(1, 1000) as n"
    ))
    .await;
}
