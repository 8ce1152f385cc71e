//! The kinds of failures that park an aggregate.

use crate::domain::FoldErrorKind;

/// Declares the classes: the text in `parked.class`, and whether the text in `parked.error` is free of values of payloads and
/// rows.
macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident $name:literal $is_plain:literal,)+) => {
        /// Why an aggregate is parked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum FailureClass {
            $($(#[$doc])* $class),+
        }

        impl FailureClass {
            /// All classes.
            pub const ALL: &[Self] = &[$(Self::$class),+];

            /// The stored and shown name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$class => $name),+
                }
            }

            /// Whether the error text quotes neither payloads nor rows.
            #[must_use]
            pub const fn has_plain_text(self) -> bool {
                match self {
                    $(Self::$class => $is_plain),+
                }
            }
        }
    };
}

classes! {
    /// The fold returned an error. Its text is the domain's, which leaves payloads out.
    Fold "fold" true,
    /// The code of the domain panicked.
    Panic "panic" true,
    /// The event does not match its type.
    Event "event" false,
    /// The row does not match its type.
    Row "row" false,
    /// The database rejects the row.
    Write "write" false,
    /// A version before the event is missing from the log, or is not claimed.
    Gap "gap" true,
    /// Claims of events that are part of the row were deleted.
    Claims "claims" true,
    /// An older build has parked the aggregate.
    Unknown "unknown" false,
}

impl From<FoldErrorKind> for FailureClass {
    fn from(kind: FoldErrorKind) -> Self {
        match kind {
            FoldErrorKind::Fold => Self::Fold,
            FoldErrorKind::Panic => Self::Panic,
            FoldErrorKind::Event => Self::Event,
            FoldErrorKind::Row => Self::Row,
        }
    }
}

impl FailureClass {
    /// The class with this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let mut all = Self::ALL.iter().copied();
        let class = all.find(|class| class.name() == name);
        class.unwrap_or(Self::Unknown)
    }
}
