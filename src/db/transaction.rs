//! Connections and transactions that a pool hands out.

use std::ops::{Deref, DerefMut};

use deadpool::managed::Object;
use tokio::time::timeout;

use super::pool::{ACQUIRE_TIMEOUT, Manager};
use super::{DbError, Session};

/// A connection of the pool. Dropping it returns it to the pool, or closes it at once if it cannot serve another request: a
/// statement of a cancelled request may still run on it, or the last error said that the connection is at fault.
#[derive(Debug)]
pub struct Connection(Option<Object<Manager>>);

impl Connection {
    pub(super) const fn new(object: Object<Manager>) -> Self {
        Self(Some(object))
    }

    /// Takes the connection out of the pool, which opens another one in its place.
    fn leave_pool(mut self) -> Option<Session<'static>> {
        self.0.take().map(Object::take)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(object) = self.0.take() else {
            return;
        };
        object.suspect_others_if_busy();
        if !object.is_reusable() {
            drop(Object::take(object));
        }
    }
}

impl Deref for Connection {
    type Target = Session<'static>;

    fn deref(&self) -> &Session<'static> {
        match &self.0 {
            Some(object) => object,
            None => unreachable!("the connection is taken only when it is dropped"),
        }
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Session<'static> {
        match &mut self.0 {
            Some(object) => object,
            None => unreachable!("the connection is taken only when it is dropped"),
        }
    }
}

/// A transaction on a connection of the pool. Dropping it without a commit rolls it back at once, and not when the
/// connection is next used: until then it would hold its locks.
#[derive(Debug)]
pub struct Transaction(Option<Connection>);

impl Transaction {
    pub(super) async fn begin(connection: Connection) -> Result<Self, DbError> {
        // It exists before BEGIN is sent, so that a future dropped in between rolls back.
        let mut transaction = Self(Some(connection));
        transaction.deref_mut().begin().await?;
        Ok(transaction)
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// After [`DbError::Unavailable`] the transaction may or may not be committed.
    pub async fn commit(mut self) -> Result<(), DbError> {
        self.end("commit").await?;
        self.0 = None;
        Ok(())
    }

    /// Rolls back.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`] if the connection is lost; the server then rolls back by itself.
    pub async fn rollback(mut self) -> Result<(), DbError> {
        self.end("rollback").await?;
        self.0 = None;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = Session<'static>;

    fn deref(&self) -> &Session<'static> {
        match &self.0 {
            Some(connection) => connection,
            None => unreachable!("the connection is taken only when the transaction ends"),
        }
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Session<'static> {
        match &mut self.0 {
            Some(connection) => connection,
            None => unreachable!("the connection is taken only when the transaction ends"),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(mut connection) = self.0.take() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // The runtime has ended with the process; the server rolls back when it sees the connection close.
            return;
        };
        connection.suspect_others_if_busy();
        if connection.is_busy() {
            // An abandoned statement runs on until the server ends it, for seconds if it waits for a lock. The connection
            // leaves the pool, so the next user gets another one.
            let Some(mut session) = connection.leave_pool() else {
                return;
            };
            runtime.spawn(async move {
                // Dropping the session closes the connection, which ends the transaction even if this fails.
                let _ = timeout(ACQUIRE_TIMEOUT, session.end("rollback")).await;
            });
            return;
        }
        runtime.spawn(async move {
            let rolled_back = timeout(ACQUIRE_TIMEOUT, connection.end("rollback")).await;
            if !matches!(rolled_back, Ok(Ok(()))) {
                // Closing the connection ends the transaction, so it does not return to the pool.
                drop(connection.leave_pool());
            }
        });
    }
}
