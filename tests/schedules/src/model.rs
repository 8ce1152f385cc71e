//! What the events mean, written a second time and independently of foldlog: rules and folds over JSON.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::domains::{PANICKING_DEPOSIT_SIZE, UNFOLDABLE_DEPOSIT_SIZE};

/// An event as a client sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: Uuid,
    pub aggregate: Uuid,
    pub body: Body,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Created { username: String, email: String },
    Renamed { username: String },
    EmailChanged { email: String },
    Deleted,
    Opened { owner: String },
    Deposited { cents: i64 },
    Closed,
}

/// An aggregate after some of its events.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum State {
    #[default]
    Absent,
    User {
        username: String,
        email: String,
    },
    Account {
        owner: String,
        cents: i64,
    },
    Ended,
}

/// What the rules say about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// 409.
    Broken,
    /// 410.
    Deleted,
}

/// The row of the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerRow {
    pub deposits: i64,
    pub last_version: i32,
}

impl Body {
    pub fn is_user(&self) -> bool {
        self.type_id() < 2000
    }

    pub fn type_id(&self) -> i16 {
        match self {
            Self::Created { .. } => 1000,
            Self::Renamed { .. } => 1002,
            Self::EmailChanged { .. } => 1003,
            Self::Deleted => 1004,
            Self::Opened { .. } => 2000,
            Self::Deposited { .. } => 2001,
            Self::Closed => 2002,
        }
    }

    /// The payload that a client sends for this aggregate.
    pub fn payload(&self, aggregate: Uuid) -> Value {
        match self {
            Self::Created { username, email } => {
                json!({"id": aggregate, "username": username, "email": email})
            }
            Self::Renamed { username } => json!({"username": username}),
            Self::EmailChanged { email } => json!({"email": email}),
            Self::Opened { owner } => json!({"owner": owner}),
            Self::Deposited { cents } => json!({"cents": cents}),
            Self::Deleted | Self::Closed => json!({}),
        }
    }

    /// Reads an event of the log; `None` if its type or payload is unknown.
    pub fn read(type_id: i16, payload: &Value) -> Option<Self> {
        let text = |name: &str| payload[name].as_str().map(ToOwned::to_owned);
        Some(match type_id {
            1000 => Self::Created {
                username: text("username")?,
                email: text("email")?,
            },
            1002 => Self::Renamed {
                username: text("username")?,
            },
            1003 => Self::EmailChanged {
                email: text("email")?,
            },
            1004 => Self::Deleted,
            2000 => Self::Opened {
                owner: text("owner")?,
            },
            2001 => Self::Deposited {
                cents: payload["cents"].as_i64()?,
            },
            2002 => Self::Closed,
            _ => return None,
        })
    }

    /// The e-mail address that the event gives to a user.
    pub fn email(&self) -> Option<&str> {
        match self {
            Self::Created { email, .. } | Self::EmailChanged { email } => Some(email),
            _ => None,
        }
    }

    /// Whether the ledger's fold fails at this event.
    pub fn is_poison(&self) -> bool {
        matches!(self, Self::Deposited { cents } if *cents == UNFOLDABLE_DEPOSIT_SIZE || *cents == PANICKING_DEPOSIT_SIZE)
    }
}

impl State {
    /// What the rules say about the event in this state.
    pub fn decide(&self, body: &Body) -> Verdict {
        let first = matches!(body, Body::Created { .. } | Body::Opened { .. });
        match self {
            Self::Ended => Verdict::Deleted,
            Self::Absent if first => Verdict::Accepted,
            Self::User { .. } if !first && body.is_user() => Verdict::Accepted,
            Self::Account { .. } if !first && !body.is_user() => Verdict::Accepted,
            _ => Verdict::Broken,
        }
    }

    /// The state after an accepted event.
    pub fn apply(self, body: &Body) -> Self {
        match (self, body.clone()) {
            (_, Body::Created { username, email }) => Self::User { username, email },
            (_, Body::Opened { owner }) => Self::Account { owner, cents: 0 },
            (_, Body::Deleted | Body::Closed) => Self::Ended,
            (Self::User { email, .. }, Body::Renamed { username })
            | (Self::User { username, .. }, Body::EmailChanged { email }) => {
                Self::User { username, email }
            }
            (Self::Account { owner, cents }, Body::Deposited { cents: more }) => Self::Account {
                owner,
                cents: cents + more,
            },
            (state, _) => state,
        }
    }

    /// The public columns of the row; `None` if the view has no row.
    pub fn row(&self) -> Option<Value> {
        match self {
            Self::User { username, email } => Some(json!({"username": username, "email": email})),
            Self::Account { owner, cents } => Some(json!({"owner": owner, "balance_cents": cents})),
            Self::Absent | Self::Ended => None,
        }
    }
}

impl LedgerRow {
    /// The row after an event that can be folded.
    pub fn apply(mut self, version: i32, body: &Body) -> Self {
        self.last_version = version;
        self.deposits += i64::from(matches!(body, Body::Deposited { .. }));
        self
    }
}
