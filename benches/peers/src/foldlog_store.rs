//! foldlog: an append checks the rules, the version and the event id; the key of a claim makes views exactly once.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use foldlog::db::{Pool, Schema};
use foldlog::domains::users::{self, Users};
use foldlog::event::{AggregateId, ExpectedVersion, NewEvent, UntypedEvent};
use foldlog::http::{self, AppState, Auth, Operations};
use foldlog::projection::{self, Budget};
use foldlog::{Foldlog, command, migrations};
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::load::{Load, Measured};
use crate::{AGGREGATE_COUNT, Kind, UserEvent, aggregate};

/// Events per transaction of `setup`.
const CHUNK_SIZE: usize = 1000;

/// Events per batch of a catch-up: foldlog's default.
const BATCH_SIZE: u32 = 2000;

fn foldlog(url: &str, connections: usize, inline: bool) -> Result<Foldlog> {
    let pool = Pool::new(PgConnectOptions::from_str(url)?, connections);
    let builder = Foldlog::builder().domain::<Users>();
    let builder = if inline {
        builder.inline(["users"])
    } else {
        builder
    };
    Ok(builder.build(pool)?)
}

fn encode(id: Uuid, event: UserEvent) -> Result<UntypedEvent> {
    let payload = match event {
        UserEvent::Created {
            username, email, ..
        } => users::UserEvent::Created {
            id,
            username,
            email,
            password: None,
        },
        UserEvent::Renamed { username } => users::UserEvent::UsernameChanged { username },
    };
    Ok(NewEvent::new(AggregateId(id), payload).encode()?)
}

pub async fn setup(url: &str) -> Result<()> {
    let foldlog = foldlog(url, 4, false)?;
    let mut connection = PgConnection::connect(url).await?;
    let schema = Schema::default();
    migrations::up(&mut connection, &schema, &foldlog.views, foldlog.inline()).await?;
    let ids: Vec<Uuid> = (0..AGGREGATE_COUNT).map(aggregate).collect();
    for chunk in ids.chunks(CHUNK_SIZE) {
        let events: Result<Vec<_>> = chunk
            .iter()
            .map(|id| encode(*id, UserEvent::created(*id)))
            .collect();
        command::execute(&foldlog, &events?, ExpectedVersion::Any, None).await?;
    }
    catch_up(&foldlog).await?;
    Ok(())
}

/// With the view folded in the append's transaction, or left to a listener that does not run here.
pub async fn append(url: &str, kind: Kind, load: Load, inline: bool) -> Result<Measured> {
    let foldlog = foldlog(url, load.clients, inline)?;
    load.run(move |_| {
        let foldlog = foldlog.clone();
        async move {
            let (id, event) = kind.next();
            let event = encode(id, event)?;
            command::execute(&foldlog, &[event], ExpectedVersion::Any, None).await?;
            Ok(())
        }
    })
    .await
}

/// The client is minimal, because it runs on the server's cores: it writes a request to a socket and reads the response.
pub async fn append_over_http(address: &str, kind: Kind, load: Load) -> Result<Measured> {
    let mut sockets = Vec::new();
    for _ in 0..load.clients {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        sockets.push(Arc::new(Mutex::new(socket)));
    }
    load.run(move |client| {
        let socket = sockets[client].clone();
        async move {
            let (id, event) = kind.next();
            let event = encode(id, event)?;
            let body = serde_json::json!({
                "id": event.id, "aggregate_id": event.aggregate_id, "type_id": event.type_id, "payload": event.payload,
            })
            .to_string();
            let request = format!(
                "POST /users HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut socket = socket.lock().await;
            socket.write_all(request.as_bytes()).await?;
            let mut answer = [0; 1024];
            let read = socket.read(&mut answer).await?;
            let answer = String::from_utf8_lossy(&answer[..read]);
            ensure!(answer.starts_with("HTTP/1.1 201"), "{answer}");
            Ok(())
        }
    })
    .await
}

pub async fn serve(url: &str, port: u16, connections: usize) -> Result<()> {
    let state = AppState {
        foldlog: foldlog(url, connections, false)?,
        cors_origins: [].into(),
        auth: Auth::None,
        operations: Operations::None,
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(axum::serve(listener, http::router(state.clone(), state)).await?)
}

pub async fn project(url: &str) -> Result<f64> {
    let foldlog = foldlog(url, 4, false)?;
    drop(foldlog.pool.acquire().await?);
    let begun = Instant::now();
    let applied = catch_up(&foldlog).await?;
    Ok(applied as f64 / begun.elapsed().as_secs_f64())
}

async fn catch_up(foldlog: &Foldlog) -> Result<u64> {
    let mut applied = 0;
    for view in foldlog.views.iter() {
        let caught_up =
            projection::catch_up(&foldlog.pool, view, BATCH_SIZE, &Budget::default()).await?;
        applied += caught_up.applied;
    }
    Ok(applied)
}
