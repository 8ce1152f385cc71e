//! The privileges that the migrations grant to the roles of the hosts. Those on views are in `sql/read_roles.sql`.
//! (test: `a_privilege_that_was_revoked_is_reported`)

use crate::db::Role;

/// Privileges of some roles.
pub(super) struct Needed {
    roles: &'static [Role],
    privileges: &'static [&'static str],
    /// Tables, or functions if the privilege is `execute`.
    objects: &'static [&'static str],
}

impl Needed {
    /// Each of them: the role, the privilege, the table or function.
    pub(super) fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        let Self {
            roles,
            privileges,
            objects,
        } = *self;
        roles.iter().flat_map(move |role| {
            privileges.iter().flat_map(move |privilege| {
                objects
                    .iter()
                    .map(move |object| (role.name(), *privilege, *object))
            })
        })
    }
}

/// The roles that append. [`Role::CommandInline`] is a member of this one and of [`Role::Projection`].
const COMMAND: &[Role] = &[Role::Command, Role::CommandInline];
const QUERY: &[Role] = &[Role::Query];
const PROJECTION: &[Role] = &[Role::Projection, Role::CommandInline];
const READERS: &[Role] = &[Role::Query, Role::Projection, Role::CommandInline];

/// All of them.
pub(super) const NEEDED: &[Needed] = &[
    Needed {
        roles: COMMAND,
        privileges: &["select"],
        objects: &[
            "log", "events", "views", "locker", "settled", "skipped", "slices",
        ],
    },
    Needed {
        roles: COMMAND,
        privileges: &["insert"],
        objects: &["events"],
    },
    Needed {
        roles: READERS,
        privileges: &["select"],
        objects: &[
            "log",
            "events",
            "views",
            "locker",
            "settled",
            "parked",
            "skipped",
            "slices",
            "verifications",
            "differences",
            "verify_ranges",
            "verb_results",
        ],
    },
    Needed {
        roles: QUERY,
        privileges: &["select"],
        objects: &["foldlog_migrations"],
    },
    Needed {
        roles: QUERY,
        privileges: &["execute"],
        objects: &["open_transactions"],
    },
    Needed {
        roles: PROJECTION,
        privileges: &["insert"],
        objects: &["skipped"],
    },
    Needed {
        roles: PROJECTION,
        privileges: &["insert", "update"],
        objects: &["verb_results"],
    },
    Needed {
        roles: PROJECTION,
        privileges: &["insert", "update", "delete"],
        objects: &[
            "locker",
            "settled",
            "parked",
            "slices",
            "verifications",
            "differences",
            "verify_ranges",
        ],
    },
    Needed {
        roles: &[Role::Command, Role::Projection, Role::CommandInline],
        privileges: &["execute"],
        objects: &["heal_log"],
    },
    Needed {
        roles: PROJECTION,
        privileges: &["execute"],
        objects: &[
            "heal_slots",
            "create_generation",
            "complete_generation",
            "finish_generation",
            "go_live",
            "abandon_generation",
            "drop_claims",
            "drop_generation",
            "postpone_removal",
            "touch_generation",
            "note_repair",
        ],
    },
    Needed {
        roles: &[Role::CommandInline],
        privileges: &["execute"],
        objects: &["share_live_generation", "require_fold"],
    },
];
