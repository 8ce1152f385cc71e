//! The names of the schemas of domains in the OpenAPI document. Generators of code make one name of the words between the dots,
//! `UsersEventCreated` of `users.event.Created`, so that different schemas can get one name, and some generators silently
//! drop one of the two.

use std::collections::BTreeMap;

use super::AnyDomain;

/// The schemas that every domain has.
const OF_EVERY_DOMAIN: [&str; 6] = ["event", "rule", "broken_rule", "row", "page", "dry_run"];

/// What generators make a type of its own in each event, beside the event itself.
const INSIDE_EVENTS: [&str; 2] = ["payload", "metadata"];

/// The names of a domain's schemas, and of the types that generators derive from parts of them.
pub(crate) fn schema_names(domain: &dyn AnyDomain) -> Vec<String> {
    let name = domain.name();
    let mut names: Vec<String> = OF_EVERY_DOMAIN
        .iter()
        .map(|schema| format!("{name}.{schema}"))
        .collect();
    for event in domain.types() {
        let event = format!("{name}.event.{}", event.name);
        let parts = INSIDE_EVENTS.map(|part| format!("{event}.{part}"));
        names.push(event);
        names.extend(parts);
    }
    // The schema of each payload comes with the types inside all of them.
    let first = domain.types().first();
    let payload = first.and_then(|first| domain.payload_schema(first.id));
    let types = payload.into_iter().flat_map(|payload| payload.components);
    names.extend(types.map(|(inside, _)| format!("{name}.payload.{inside}")));
    let row = domain.projection().row_schema();
    let types = row.components.into_keys();
    names.extend(types.map(|inside| format!("{name}.row.{inside}")));
    names
}

/// Two names that a generator may convert to the same one. Upper and lower case count as equal: generators differ in what they make
/// of `URLSet`, and write files whose names differ in case only.
pub(crate) fn find_ambiguous(names: impl IntoIterator<Item = String>) -> Option<(String, String)> {
    let mut known = BTreeMap::new();
    for name in names {
        let letters = name.chars().filter(char::is_ascii_alphanumeric);
        let converted = letters.collect::<String>().to_ascii_lowercase();
        if let Some(other) = known.insert(converted, name.clone()) {
            return Some((other, name));
        }
    }
    None
}
