//! What can happen to a user.

use uuid::Uuid;

use crate::domain::prelude::*;

events! {
    /// What can happen to a user. The block 1000–1999 is this domain's for ever.
    pub enum UserEvent in 1000..2000 {
        /// The first event, once. `id` repeats the aggregate's id.
        1000 => Created { id: Uuid, username: String, email: String, password: Option<Password> },
        1001 => PasswordChanged { password: Password },
        1002 => UsernameChanged { username: String },
        1003 => EmailChanged { email: String },
        /// The last event.
        1004 => Deleted { id: Option<Uuid> },
    }
}
