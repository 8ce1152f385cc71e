//! Rows with numbers that JSON parsers usually round, or that JSON does not have.

use std::convert::Infallible;

use foldlog::db::Pool;
use foldlog::domain::Domains;
use foldlog::domain::prelude::*;
use foldlog::event::AggregateId;
use foldlog::projection::verify::{VerifyOptions, verify};
use foldlog::projection::{Budget, catch_up};
use foldlog::{Foldlog, migrations};
use uuid::Uuid;

use crate::support::TestDb;

events! {
    /// What can happen to a sum.
    pub enum SumEvent in 6000..7000 {
        6000 => Added { times: u32, parts: f64 },
    }
}

/// Integers of more than 64 bits, in a column and within one.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Sum {
    total: u128,
    detail: Detail,
    /// One part of the last event.
    part: Option<f64>,
}

/// What a column contains.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Detail {
    total: u128,
}

#[derive(Debug)]
struct Sums;

impl Domain for Sums {
    const NAME: &'static str = "sums";
    const VIEW: &'static str = "create table sums (id uuid primary key, version integer not null, \
                                total numeric not null, detail jsonb not null, part double precision)";
    type Event = SumEvent;
    type State = Sum;
    type Error = Infallible;

    fn check(_: Option<&Sum>, _: &SumEvent) -> Result<(), Infallible> {
        Ok(())
    }

    fn apply(sum: Option<Sum>, event: &SumEvent) -> Option<Sum> {
        let SumEvent::Added { times, parts } = event;
        let total = sum.unwrap_or_default().total + (u128::from(*times) << 70);
        Some(Sum {
            total,
            detail: Detail { total },
            part: (*parts >= 0.0).then(|| 1.0 / parts),
        })
    }
}

const DOMAINS: Domains = foldlog::domains![Sums];

async fn sums(db: &TestDb) -> Foldlog {
    let builder = Foldlog::builder().domains(DOMAINS);
    let foldlog = builder.build(Pool::new(db.options.clone(), 4)).unwrap();
    let mut connection = db.connect().await;
    let schema = foldlog.pool.schema();
    migrations::up(&mut connection, schema, &foldlog.views, foldlog.inline())
        .await
        .unwrap();
    foldlog
}

/// Fails when verify takes an integer of more than 64 bits for its neighbour, because a float is the same for both; or when a row with such
/// an integer that is right differs.
#[tokio::test]
async fn verify_compares_integers_of_more_than_64_bits_exactly() {
    let db = TestDb::new().await;
    let foldlog = sums(&db).await;
    let id = AggregateId(Uuid::now_v7());
    for times in [1, 3] {
        let added = SumEvent::Added { times, parts: 4.0 };
        foldlog.append::<Sums>(id, [added]).await.unwrap();
    }
    let view = foldlog.view("sums").unwrap();
    let budget = Budget::default();
    catch_up(&foldlog.pool, view, 100, &budget).await.unwrap();
    let check = async |options| verify(&foldlog.pool, view, options, &budget).await.unwrap();
    let clean = check(VerifyOptions::default()).await;
    assert_eq!((clean.aggregates, clean.differ), (1, 0), "{clean:?}");
    for (spoil, field) in [
        ("total = total + 1", "total"),
        (
            "detail = jsonb_build_object('total', (detail->>'total')::numeric + 1)",
            "detail",
        ),
    ] {
        db.run(&format!("update sums set {spoil}")).await;
        let found = check(VerifyOptions::repair()).await;
        assert_eq!((found.differ, found.repaired), (1, 1), "{spoil}");
        let fields: Vec<_> = found.differences[0].changes.keys().collect();
        assert_eq!(fields, [field]);
        assert_eq!(check(VerifyOptions::default()).await.differ, 0);
    }
}

/// Fails when a number that JSON does not have is stored as null in a column that allows nulls: the row would not be what the fold has
/// returned, and nothing would say so.
#[tokio::test]
async fn a_row_with_an_infinity_or_nan_is_not_written() {
    let db = TestDb::new().await;
    let foldlog = sums(&db).await;
    let id = AggregateId(Uuid::now_v7());
    let add = async |parts| {
        let added = SumEvent::Added { times: 1, parts };
        foldlog.append::<Sums>(id, [added]).await.unwrap();
    };
    let view = foldlog.view("sums").unwrap();
    let budget = Budget::default();
    // No part, which is a null.
    add(-1.0).await;
    catch_up(&foldlog.pool, view, 100, &budget).await.unwrap();
    assert_eq!(
        db.count("select count(*) from sums where part is null")
            .await,
        1
    );
    add(0.0).await;
    catch_up(&foldlog.pool, view, 100, &budget).await.unwrap();
    assert_eq!(db.count("select version::bigint from sums").await, 1);
    let parked = "select count(*) from parked where version = 2 and class = 'row' \
                  and error like '%the row does not serialize: a number is too large%, or is not a number%'";
    assert_eq!(db.count(parked).await, 1);
}
