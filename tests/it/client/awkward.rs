//! Domains whose names, events and types are words of TypeScript, or names that the client itself uses.

use foldlog::domain::Domains;
use foldlog::domain::prelude::*;
use foldlog::domains;

/// A domain with one name and one block of type ids; its events are called like what the client makes of a domain.
macro_rules! awkward {
    ($module:ident, $name:literal, $block:literal .. $end:literal, $row:literal, $page:literal, $event:literal, $record:literal) => {
        mod $module {
            use super::*;

            events! {
                pub enum Happened in $block..$end {
                    $row => Row { row: Page },
                    $page => Page {},
                    $event => Event { event: Option<String> },
                    $record => Record { get: String, then: i64 },
                }
            }

            /// A type in a payload that is called like an event.
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
            pub struct Page {
                pub id: AggregateId,
                pub filter: String,
            }

            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
            pub struct Filter {
                pub strong: bool,
                pub signal: Option<String>,
                pub class: String,
            }

            rules! {
                #[derive(Debug, thiserror::Error)]
                pub enum Error {
                    #[error("it does not exist")]
                    Missing,
                }
            }

            pub struct Awkward;

            impl Domain for Awkward {
                const NAME: &'static str = $name;
                const VIEW: &'static str = "";
                type Event = Happened;
                type State = Filter;
                type Error = Error;

                fn check(_: Option<&Filter>, _: &Happened) -> Result<(), Error> {
                    Ok(())
                }

                fn apply(row: Option<Filter>, _: &Happened) -> Option<Filter> {
                    row
                }
            }
        }
    };
}

awkward!(problem, "problem", 9000..9010, 9000, 9001, 9002, 9003);
awkward!(any, "any", 9010..9020, 9010, 9011, 9012, 9013);
awkward!(event, "event", 9020..9030, 9020, 9021, 9022, 9023);
awkward!(new, "new", 9030..9040, 9030, 9031, 9032, 9033);
awkward!(new_, "new_", 9040..9050, 9040, 9041, 9042, 9043);
awkward!(is, "is", 9050..9060, 9050, 9051, 9052, 9053);

pub const DOMAINS: Domains = domains![
    problem::Awkward,
    any::Awkward,
    event::Awkward,
    new::Awkward,
    new_::Awkward,
    is::Awkward
];
