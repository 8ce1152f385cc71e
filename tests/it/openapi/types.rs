//! A domain with every kind of type that an author may use: enums, maps, tuples, `Option`, UUIDs, times, nested types,
//! `flatten`, and secrets at any depth. `scripts/openapi-types.sh` compiles TypeScript against the snapshot.

use std::collections::BTreeMap;

use foldlog::domain::prelude::*;
use foldlog::domains;
use foldlog::http::document;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::assert_snapshot;
use crate::support::conforms::resolve;

events! {
    /// What can happen to a parcel.
    pub enum ParcelEvent in 7000..8000 {
        /// The sender hands the parcel over.
        7000 => Sent {
            sender: Address,
            recipient: Option<Address>,
            size_mm: (u16, u16, u16),
            weight_grams: Option<u32>,
            #[serde(with = "time::serde::rfc3339")]
            sent_at: OffsetDateTime,
            route: Vec<Uuid>,
            labels: BTreeMap<String, Label>,
            service: Service,
            pickup_code: Option<Secret<String>>,
            door_codes: BTreeMap<String, Secret<String>>,
            hints: Vec<Secret<String>>,
        },
        7001 => Moved {
            to: Place,
            #[serde(flatten)]
            by: Carrier,
        },
        7002 => Paid { payment: Payment },
    }
}

/// A postal address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Address {
    street: String,
    country: Country,
    /// Opens the front door.
    key_code: Option<Secret<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Country {
    At,
    De,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Label {
    text: String,
    priority: i8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    Standard,
    Express { hours: u8 },
    Insured(Label),
    Locked(Secret<String>),
}

/// Where a parcel is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Place {
    Depot { depot_id: Uuid },
    Locker { shelf: (String, i32), pin: Password },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Carrier {
    carrier_id: Uuid,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Payment {
    cents: i64,
    card: Option<Card>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Card {
    holder: String,
    number: Secret<String>,
}

/// A parcel as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Parcel {
    sender: Address,
    recipient: Option<Address>,
    place: Option<Place>,
    service: Service,
    size_mm: (u16, u16, u16),
    weight_grams: Option<u32>,
    country: Country,
    carrier_id: Option<Uuid>,
    #[serde(with = "time::serde::rfc3339")]
    sent_at: OffsetDateTime,
    payments: Vec<Payment>,
    pickup_code: Option<Secret<String>>,
    door_codes: BTreeMap<String, Secret<String>>,
    hints: Vec<Secret<String>>,
}

rules! {
    #[derive(Debug, thiserror::Error)]
    pub enum ParcelError {
        #[error("the parcel does not exist")]
        Missing,
    }
}

pub struct Parcels;

impl Domain for Parcels {
    const NAME: &'static str = "parcels";
    const VIEW: &'static str = "";
    type Event = ParcelEvent;
    type State = Parcel;
    type Error = ParcelError;

    fn check(_: Option<&Parcel>, _: &ParcelEvent) -> Result<(), ParcelError> {
        Ok(())
    }

    fn apply(parcel: Option<Parcel>, _: &ParcelEvent) -> Option<Parcel> {
        parcel
    }
}

/// A second domain with types of the same names.
pub mod letters {
    use super::*;

    events! {
        pub enum LetterEvent in 8000..8100 {
            8000 => Sent { sender: Address },
        }
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
    pub struct Address {
        line: String,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
    pub struct Letter {
        sender: Address,
    }

    pub struct Letters;

    impl Domain for Letters {
        const NAME: &'static str = "letters";
        const VIEW: &'static str = "";
        type Event = LetterEvent;
        type State = Letter;
        type Error = ParcelError;

        fn check(_: Option<&Letter>, _: &LetterEvent) -> Result<(), ParcelError> {
            Ok(())
        }

        fn apply(letter: Option<Letter>, _: &LetterEvent) -> Option<Letter> {
            letter
        }
    }
}

fn types_document() -> Value {
    document(&domains![Parcels, letters::Letters], false)
}

// Fails when the schema of one of these types changes without a new snapshot, against which TypeScript is compiled.
#[test]
fn the_openapi_schemas_of_all_kinds_of_types_equal_their_snapshot() {
    assert_snapshot("tests/snapshots/openapi_types.json", &types_document());
}

// Fails when a property is described by anything but its Rust type.
#[test]
fn openapi_describes_enums_maps_tuples_options_uuids_times_and_nested_types() {
    let document = types_document();
    let schemas = &document["components"]["schemas"];
    let sent = &schemas["parcels.event.Sent"]["properties"]["payload"];
    let property = |name: &str| resolve(&document, &sent["properties"][name]);
    let size = json!({"type": "integer", "format": "uint16", "minimum": 0, "maximum": 65535});
    let tuple = json!({"type": "array", "prefixItems": [size, size, size], "items": false});
    assert_eq!(property("size_mm"), &tuple);
    assert_eq!(property("weight_grams")["type"], json!(["integer", "null"]));
    assert_eq!(property("weight_grams")["maximum"], u32::MAX);
    assert_eq!(property("sent_at")["format"], "date-time");
    assert_eq!(property("route")["items"]["format"], "uuid");
    let label = resolve(&document, &property("labels")["additionalProperties"]);
    assert_eq!(label["properties"]["priority"]["minimum"], i8::MIN);
    let country = &property("sender")["properties"]["country"];
    assert_eq!(
        resolve(&document, country),
        &json!({"type": "string", "enum": ["AT", "DE"]})
    );
    let variants = property("service")["oneOf"].as_array().unwrap();
    assert_eq!(variants.len(), 4, "{variants:?}");
    assert_eq!(property("service")["oneOf"][0]["const"], "standard");
    assert_eq!(property("sender")["additionalProperties"], false);
    let required: Vec<&str> = sent["required"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert!(required.contains(&"sender") && !required.contains(&"recipient"));
    assert_eq!(
        schemas["parcels.event.Sent"]["description"],
        "The sender hands the parcel over."
    );
}

// Fails when types of one name in two domains, or in an event and a row, share a schema.
#[test]
fn openapi_components_of_two_domains_do_not_collide() {
    let document = types_document();
    let properties = |name: &str| -> Vec<String> {
        let schema = &document["components"]["schemas"][name]["properties"];
        schema.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(
        properties("parcels.payload.Address"),
        ["street", "country", "key_code"]
    );
    assert_eq!(properties("parcels.row.Address"), ["street", "country"]);
    assert_eq!(properties("letters.payload.Address"), ["line"]);
}

// Fails when a secret at any depth is not marked in the schema of a request, or when the schema of a row or a filter mentions the
// key of one, except in the list of the hidden columns.
#[test]
fn openapi_marks_nested_secrets_and_leaves_them_out_of_rows() {
    let document = types_document();
    let schemas = &document["components"]["schemas"];
    let event = |name: &str| &schemas[name];
    let sent = &event("parcels.event.Sent")["properties"]["payload"]["properties"];
    let locker = event("parcels.payload.Place").to_string();
    for secret in [
        &sent["pickup_code"],
        &sent["door_codes"]["additionalProperties"],
        &sent["hints"]["items"],
        &event("parcels.payload.Address")["properties"]["key_code"],
        &event("parcels.payload.Card")["properties"]["number"],
        &event("parcels.payload.Service")["oneOf"][3]["properties"]["locked"],
    ] {
        assert_eq!(secret["x-foldlog"]["secret"], true, "{secret}");
    }
    assert!(locker.contains("\"secret\":true"), "{locker}");

    let shown: Vec<String> = schemas
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.starts_with("parcels.row"))
        .map(|(name, schema)| {
            let mut schema = schema.clone();
            if let Some(extension) = schema.as_object_mut().unwrap().remove("x-foldlog") {
                assert_eq!(extension["hidden"], json!(["pickup_code"]));
            }
            format!("{name}: {schema}")
        })
        .collect();
    let shown = shown.join("\n");
    for key in [
        "key_code",
        "pickup_code",
        "\"number\"",
        "\"pin\"",
        "Password",
        "\"secret\"",
    ] {
        assert!(!shown.contains(key), "{key} in {shown}");
    }
    let row = &schemas["parcels.row"]["properties"];
    assert_eq!(row["hints"]["items"], json!({"type": "null"}));
    assert_eq!(row["door_codes"]["additionalProperties"], false);

    let parameters = document["paths"]["/parcels"]["get"]["parameters"]
        .as_array()
        .unwrap();
    let filters: Vec<&str> = parameters
        .iter()
        .map(|parameter| resolve(&document, parameter))
        .filter(|parameter| {
            parameter["description"]
                .as_str()
                .unwrap()
                .contains("equals")
        })
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        filters,
        [
            "size_mm",
            "weight_grams",
            "country",
            "carrier_id",
            "sent_at"
        ]
    );
}
