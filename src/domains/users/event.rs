//! What can happen to a user.

use uuid::Uuid;

use crate::domain::prelude::*;

events! {
    /// What can happen to a user. The block 1000–1999 is reserved for this domain.
    pub enum UserEvent in 1000..2000 {
        /// The first event of a user. `id` repeats the aggregate's id.
        1000 => Created { id: Uuid, username: String, email: String, password: Option<Password> },
        1001 => PasswordChanged { password: Password },
        1002 => UsernameChanged { username: String },
        1003 => EmailChanged { email: String },
        /// Ends a user. Only `Restored` can follow.
        1004 => Deleted { id: Option<Uuid> },
        /// Brings a deleted user back, without a password.
        1006 => Restored { username: String, email: String },
    }
    old {
        /// Until the field was named after the column of the view.
        1005 => Renamed { name: String } as UsernameChanged { username: name },
    }
}
