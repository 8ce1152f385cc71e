//! Numbers with a fraction: as the client sent them, or rejected.

use std::convert::Infallible;

use foldlog::db::Pool;
use foldlog::domain::Domains;
use foldlog::domain::prelude::*;
use foldlog::{Foldlog, migrations};
use reqwest::Method;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::App;

events! {
    /// What can happen to a meter.
    pub enum MeterEvent in 6000..7000 {
        6000 => Read { kwh: f64, volts: Option<f32> },
    }
}

/// The sum of what was read.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Meter {
    kwh: f64,
    volts: Option<f32>,
}

#[derive(Debug)]
struct Meters;

impl Domain for Meters {
    const NAME: &'static str = "meters";
    const VIEW: &'static str = "create table meters (id uuid primary key, version integer not null, \
                                kwh double precision not null, volts real)";
    type Event = MeterEvent;
    type State = Meter;
    type Error = Infallible;

    fn check(_: Option<&Meter>, _: &MeterEvent) -> Result<(), Infallible> {
        Ok(())
    }

    fn apply(meter: Option<Meter>, event: &MeterEvent) -> Option<Meter> {
        let MeterEvent::Read { kwh, volts } = event;
        Some(Meter {
            kwh: meter.unwrap_or_default().kwh + kwh,
            volts: *volts,
        })
    }
}

const DOMAINS: Domains = foldlog::domains![Meters];

async fn app() -> App {
    let db = TestDb::new().await;
    // An old recommendation for dumps that are easy to compare.
    db.run("do $$ begin execute format('alter database %I set extra_float_digits = 0', current_database()); end $$")
        .await;
    let builder = Foldlog::builder().domains(DOMAINS).inline(["meters"]);
    let foldlog = builder.build(Pool::new(db.options.clone(), 2)).unwrap();
    let mut connection = db.connect().await;
    let schema = foldlog.pool.schema();
    migrations::up(&mut connection, schema, &foldlog.views, foldlog.inline())
        .await
        .unwrap();
    App::with_foldlog(db, foldlog).await
}

async fn append(app: &App, meter: Uuid, payload: &str) -> (u16, String) {
    let id = Uuid::now_v7();
    let body =
        format!(r#"{{"id":"{id}","aggregate_id":"{meter}","type_id":6000,"payload":{payload}}}"#);
    let request = app.request(Method::POST, "/meters");
    let request = request.header("content-type", "application/json");
    let response = request.body(body).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn read(app: &App, path: &str) -> String {
    let response = app.request(Method::GET, path).send().await.unwrap();
    response.text().await.unwrap()
}

/// Fails when a number is read as a neighbour of the one that was written: in an append, from the log or from a row.
#[tokio::test]
async fn a_number_with_seventeen_digits_is_stored_and_read_exactly() {
    let app = app().await;
    for sent in [
        57.805_284_900_000_004_f64,
        31.245_270_191_439_438,
        1.234_567_890_123_456_7e-300,
    ] {
        let meter = Uuid::now_v7();
        let payload = format!(r#"{{"kwh":{sent:e}}}"#);
        let (status, answer) = append(&app, meter, &payload).await;
        assert_eq!(status, 201, "{answer}");
        let stored = "select (payload->>'kwh')::double precision from events where aggregate_id = ";
        let stored: f64 = sqlx::query_scalar(AssertSqlSafe(format!("{stored}'{meter}'")))
            .fetch_one(&mut app.db.connect().await)
            .await
            .unwrap();
        assert_eq!(
            stored.to_bits(),
            sent.to_bits(),
            "{sent} was stored as {stored}"
        );
        // A fold over the row adds nothing, and must not change it.
        assert_eq!(append(&app, meter, r#"{"kwh":0}"#).await.0, 201);
        for path in [
            format!("/meters/{meter}"),
            format!("/meters/{meter}?version=1"),
        ] {
            let row = read(&app, &path).await;
            assert!(
                row.contains(&format!(r#""kwh":{}"#, serde_json::json!(sent))),
                "{path}: {row}"
            );
        }
    }
}

/// Fails when a number that does not fit its field is accepted: the log would hold a null, and the event could never be folded, or would
/// say something else than the client sent.
#[tokio::test]
async fn a_number_that_is_too_large_for_its_field_is_rejected() {
    let app = app().await;
    let meter = Uuid::now_v7();
    for payload in [r#"{"kwh":1,"volts":1e39}"#, r#"{"kwh":1e309}"#] {
        let (status, answer) = append(&app, meter, payload).await;
        assert_eq!(status, 422, "{payload}: {answer}");
    }
    let nan = MeterEvent::Read {
        kwh: f64::NAN,
        volts: None,
    };
    let builder = Foldlog::builder().domains(DOMAINS);
    let foldlog = builder.build(app.db.pool().clone()).unwrap();
    let appended = foldlog.append::<Meters>(AggregateId(meter), [nan]);
    assert!(appended.await.is_err());
    assert_eq!(app.stored().await, 0);
}

/// Fails when a row is folded from a number as the client sent it, and not from the number that the log holds.
#[tokio::test]
async fn a_row_is_folded_from_the_number_that_the_log_holds() {
    let app = app().await;
    let meter = Uuid::now_v7();
    // `jsonb` has no negative zero.
    let (status, answer) = append(&app, meter, r#"{"kwh":1,"volts":-0.0}"#).await;
    assert_eq!(status, 201, "{answer}");
    let negative = "select count(*) from meters where volts::text = '-0'";
    assert_eq!(app.db.count(negative).await, 0);
    for kwh in ["1e300", "0.1", "1e-300", "1.50"] {
        let (status, answer) = append(&app, meter, &format!(r#"{{"kwh":{kwh}}}"#)).await;
        assert_eq!(status, 201, "{answer}");
    }
}
