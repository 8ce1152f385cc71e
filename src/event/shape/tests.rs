use std::collections::BTreeMap;

use serde::Deserialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::*;
use crate::event::{Password, Secret, Version};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Colour {
    Red,
    DarkBlue,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is read")]
enum Either {
    Id(Uuid),
    Nothing,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is read")]
struct Place {
    street: String,
    floor: Option<u8>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is read")]
struct All {
    id: Uuid,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    #[serde(rename = "named")]
    name: String,
    cents: i64,
    version: Version,
    small: u16,
    share: f64,
    open: bool,
    colour: Colour,
    #[serde(default)]
    tags: Vec<Uuid>,
    counts: BTreeMap<String, u32>,
    place: Place,
    either: Option<Either>,
    free: Value,
    password: Option<Password>,
    pin: Secret<i32>,
}

// Fails when a type is taken for another, a field for required that is not, or the reverse.
#[test]
fn a_shape_says_what_the_type_reads() {
    let member = |name, shape, required| Member {
        name,
        shape,
        required,
    };
    let boxed = |shape| Box::new(shape);
    let integer = |least, greatest| Shape::Integer { least, greatest };
    let int32 = integer(i32::MIN.into(), 2_147_483_647);
    let text = || Shape::Text(None);
    let place = Shape::Object(vec![
        member("street", text(), true),
        member("floor", Shape::Nullable(boxed(integer(0, 255))), false),
    ]);
    let Sketch { shape, sample } = Sketch::of::<All>();
    assert!(sample.is_some());
    let Shape::Object(members) = shape else {
        panic!("{shape:?}")
    };
    let known = [
        member("id", Shape::Text(Some("uuid")), true),
        member("at", Shape::Text(Some("date-time")), true),
        member("named", text(), true),
        member("cents", integer(i64::MIN, i64::MAX as u64), true),
        member("version", int32.clone(), true),
        member("small", integer(0, 65535), true),
        member("share", Shape::Number, true),
        member("open", Shape::Bool, true),
        member("colour", Shape::Choice(&["red", "dark-blue"]), true),
        member("tags", Shape::List(boxed(Shape::Text(Some("uuid")))), false),
        member(
            "counts",
            Shape::Map(boxed(integer(0, u32::MAX.into()))),
            true,
        ),
        member("place", place, true),
        member("either", Shape::Nullable(boxed(Shape::Any)), false),
        member("free", Shape::Any, true),
        member(
            "password",
            Shape::Nullable(boxed(Shape::Hidden(boxed(text())))),
            false,
        ),
        member("pin", Shape::Hidden(boxed(int32)), true),
    ];
    for (member, known) in members.iter().zip(&known) {
        assert_eq!(member, known);
    }
    assert_eq!(members.len(), known.len());
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape is read")]
struct Untold {
    pair: (i32, String),
    name: String,
    nick: Option<String>,
}

// Fails when a type that no sample is known for takes the fields behind it along.
#[test]
fn what_cannot_be_told_hides_nothing_else() {
    let Sketch { shape, sample } = Sketch::of::<Untold>();
    assert_eq!(sample, None);
    let Shape::Object(members) = shape else {
        panic!("{shape:?}")
    };
    let told: Vec<_> = members.iter().map(|m| (&m.shape, m.required)).collect();
    let nick = Shape::Nullable(Box::new(Shape::Text(None)));
    assert_eq!(
        told,
        [
            (&Shape::Any, true),
            (&Shape::Text(None), true),
            (&nick, false)
        ]
    );
}
