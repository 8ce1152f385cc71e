//! The smallest Lambda function with a database: it connects at its start, and answers each event with "hello" after one
//! `select 1`. `benches/serverless.rs` compares foldlog's functions with it, so that the figures show only what foldlog adds.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::Mutex;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let options: PgConnectOptions = std::env::var("DATABASE_URL")?.parse()?;
    let connection = Arc::new(Mutex::new(options.connect().await?));
    let handler = service_fn(move |_: LambdaEvent<Value>| hello(Arc::clone(&connection)));
    Runtime::new(handler).run().await
}

async fn hello(connection: Arc<Mutex<PgConnection>>) -> Result<Value, Error> {
    sqlx::query("select 1")
        .execute(&mut *connection.lock().await)
        .await?;
    Ok(json!({"statusCode": 200, "body": "hello"}))
}
