//! What can happen to a user.

use uuid::Uuid;

use crate::domain::prelude::*;

events! {
    /// What can happen to a user. The block 1000–1999 is reserved for this domain.
    pub enum UserEvent in 1000..2000 {
        /// The first event of a user.
        1000 => Created {
            /// The aggregate's id once more.
            id: Uuid,
            /// 1 to 100 characters.
            username: String,
            /// An address that no other user has.
            email: String,
            /// 1 to 1000 characters; only their hash is stored.
            password: Option<Password>,
        },
        /// Sets the password.
        1001 => PasswordChanged {
            /// 1 to 1000 characters; only their hash is stored.
            password: Password,
        },
        /// Changes the name.
        1002 => UsernameChanged {
            /// 1 to 100 characters.
            username: String,
        },
        /// Changes the e-mail address.
        1003 => EmailChanged {
            /// An address that no other user has.
            email: String,
        },
        /// Ends a user. Only `Restored` can follow.
        1004 => Deleted {
            /// The aggregate's id once more, if it is sent.
            id: Option<Uuid>,
        },
        /// Brings a deleted user back, without a password.
        1006 => Restored {
            /// 1 to 100 characters.
            username: String,
            /// An address that no other user has.
            email: String,
        },
    }
    old {
        /// Until the field was named after the column of the view.
        1005 => Renamed { name: String } as UsernameChanged { username: name },
    }
}
