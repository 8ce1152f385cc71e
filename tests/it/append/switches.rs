//! A domain whose rules depend on the state: an event is accepted only if it names the position that the switch has.

use foldlog::db::Pool;
use foldlog::domain::Domains;
use foldlog::domain::prelude::*;
use foldlog::event::UntypedEvent;
use foldlog::{Foldlog, migrations};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::events::event;

events! {
    /// What happens to a switch.
    pub enum SwitchEvent in 4000..5000 {
        4000 => Set { to: i64 },
        4001 => Confirmed { at: i64 },
        4002 => Touched {},
        4003 => Removed {},
    }
}

/// The position of a switch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Switch {
    pub at: i64,
}

rules! {
    /// Why a switch refuses an event.
    #[derive(Debug, thiserror::Error)]
    pub enum PositionError {
        /// The switch has another position.
        #[error("the switch has another position")]
        Another,
    }
}

/// The domain.
pub struct Switches;

impl Domain for Switches {
    const NAME: &'static str = "switches";
    const VIEW: &'static str =
        "create table switches (id uuid primary key, version integer not null, at bigint not null)";
    type Event = SwitchEvent;
    type State = Switch;
    type Error = PositionError;

    fn check(switch: Option<&Switch>, event: &SwitchEvent) -> Result<(), PositionError> {
        match (switch, event) {
            (_, SwitchEvent::Set { .. })
            | (Some(_), SwitchEvent::Touched {} | SwitchEvent::Removed {}) => Ok(()),
            (Some(switch), SwitchEvent::Confirmed { at }) if switch.at == *at => Ok(()),
            _ => Err(PositionError::Another),
        }
    }

    fn apply(switch: Option<Switch>, event: &SwitchEvent) -> Option<Switch> {
        match event {
            SwitchEvent::Set { to } => Some(Switch { at: *to }),
            SwitchEvent::Confirmed { .. } | SwitchEvent::Touched {} => switch,
            SwitchEvent::Removed {} => None,
        }
    }
}

const DOMAINS: Domains = foldlog::domains![Switches];

/// A database with the view of the switches.
pub async fn database() -> TestDb {
    let db = TestDb::new().await;
    let foldlog = process(&db, false);
    let (mut connection, schema) = (db.connect().await, foldlog.pool.schema());
    migrations::up(&mut connection, schema, &foldlog.views, foldlog.inline())
        .await
        .unwrap();
    db
}

/// A process of its own on the database. It groups appends and remembers states, or does neither.
pub fn process(db: &TestDb, long_running: bool) -> Foldlog {
    let builder = Foldlog::builder().domains(DOMAINS);
    let builder = if long_running {
        builder
    } else {
        builder.group_appends(false).state_cache_bytes(0)
    };
    builder.build(Pool::new(db.options.clone(), 4)).unwrap()
}

pub fn set(switch: Uuid, to: i64) -> UntypedEvent {
    event(switch, SwitchEvent::Set { to })
}

pub fn confirmed(switch: Uuid, at: i64) -> UntypedEvent {
    event(switch, SwitchEvent::Confirmed { at })
}

pub fn touched(switch: Uuid) -> UntypedEvent {
    event(switch, SwitchEvent::Touched {})
}

pub fn removed(switch: Uuid) -> UntypedEvent {
    event(switch, SwitchEvent::Removed {})
}
