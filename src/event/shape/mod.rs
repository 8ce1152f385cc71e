//! What JSON a type reads, asked of its `Deserialize` implementation: what the API's document says of payloads and rows
//! follows from the types alone, like the names in [`fields`](super::fields).
//!
//! The type is run, as often as it takes, from a source that notes what it asks for and offers a sample of that. Where it
//! refuses a sample, the next one is offered: that is how a UUID is told from any text. In the end there is a value that
//! the type does read, and which of its fields may be left out is found by leaving them out. (Learnt from `serde-reflection`.)

mod notes;
mod probe;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use self::notes::{Asked, INSIDE, ITEM, KEY, Notes, key, only_keys};

/// What stands for a UUID in every [`Sketch::sample`].
pub const SAMPLE_UUID: &str = "0195d6f0-0000-7000-8000-000000000001";

/// What JSON a type reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Anything, or something that cannot be told by asking.
    Any,
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds.
    Integer {
        /// The least that fits.
        least: i64,
        /// The greatest that fits.
        greatest: u64,
    },
    /// A number.
    Number,
    /// A text, of this format of JSON Schema.
    Text(Option<&'static str>),
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// An array.
    List(Box<Shape>),
    /// An object with any keys.
    Map(Box<Shape>),
    /// An object with these keys.
    Object(Vec<Member>),
    /// This or null.
    Nullable(Box<Shape>),
    /// What is inside a [`Secret`](super::Secret) or a [`Password`](super::Password): taken, never shown.
    Hidden(Box<Shape>),
}

/// A key of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The key.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// Whether it may not be left out.
    pub required: bool,
}

/// A type as it is seen from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    /// What it reads.
    pub shape: Shape,
    /// A value that it does read; `None` where none was found.
    pub sample: Option<Value>,
}

impl Sketch {
    /// The sketch of `T`.
    #[must_use]
    pub fn of<T: DeserializeOwned>() -> Self {
        let mut notes = Notes::default();
        probe::run::<T>(&mut notes);
        // A field whose type finds no sample that it likes would keep those behind it from being asked.
        if let Some(Asked::Object(names)) = notes.at("") {
            for name in names {
                probe::run_field::<T>(&mut notes, name);
            }
        }
        let sample = sample(&notes, "");
        let reads = |value: &Value| T::deserialize(value).is_ok();
        let sample = sample.filter(reads);
        // `None`: that cannot be told.
        let needs = |keys: &[&str]| Some(!reads(&without(sample.as_ref()?, keys)));
        Self {
            shape: shape(&notes, "", &mut Vec::new(), &needs),
            sample,
        }
    }
}

/// Puts together what was noted at and below a path. `keys` lead there through objects only: what lies in lists and maps
/// is taken for required where it is not nullable, and so is everything where no sample was found.
fn shape(
    notes: &Notes,
    path: &str,
    keys: &mut Vec<&'static str>,
    needs: &dyn Fn(&[&str]) -> Option<bool>,
) -> Shape {
    let mut below = |step: &str| Box::new(shape(notes, &format!("{path}{step}"), keys, needs));
    match notes.at(path) {
        None | Some(Asked::Any(_)) => Shape::Any,
        Some(Asked::Bool) => Shape::Bool,
        Some(Asked::Integer { least, greatest }) => Shape::Integer { least, greatest },
        Some(Asked::Number) => Shape::Number,
        Some(Asked::Text) => Shape::Text(notes.text(path).1),
        Some(Asked::Choice(texts)) => Shape::Choice(texts),
        Some(Asked::List) => Shape::List(below(ITEM)),
        Some(Asked::Map) => Shape::Map(below(ITEM)),
        Some(Asked::Nullable) => Shape::Nullable(below(INSIDE)),
        Some(Asked::Hidden) => Shape::Hidden(below(INSIDE)),
        Some(Asked::Object(names)) => {
            let member = |name: &'static str| {
                keys.push(name);
                let shape = shape(notes, &key(path, name), keys, needs);
                let needed = only_keys(path).then(|| needs(keys)).flatten();
                let required = needed.unwrap_or(!matches!(shape, Shape::Nullable(_)));
                keys.pop();
                Member {
                    name,
                    shape,
                    required,
                }
            };
            Shape::Object(names.iter().copied().map(member).collect())
        }
    }
}

/// The value that was offered at a path.
fn sample(notes: &Notes, path: &str) -> Option<Value> {
    let below = |step: &str| sample(notes, &format!("{path}{step}"));
    Some(match notes.at(path)? {
        Asked::Any(word) => word.into(),
        Asked::Bool => Value::Bool(true),
        Asked::Integer { .. } => notes.integer(path).into(),
        Asked::Number => 1.5.into(),
        Asked::Text => notes.text(path).0.into(),
        Asked::Choice(texts) => (*texts.first()?).into(),
        Asked::List => Value::Array(vec![below(ITEM)?]),
        Asked::Map => {
            let name = notes.text(&format!("{path}{KEY}")).0;
            Value::Object(Map::from_iter([(name.to_owned(), below(ITEM)?)]))
        }
        Asked::Nullable | Asked::Hidden => below(INSIDE)?,
        Asked::Object(names) => {
            let member = |name: &&str| Some(((*name).to_owned(), sample(notes, &key(path, name))?));
            Value::Object(names.iter().map(member).collect::<Option<_>>()?)
        }
    })
}

/// The value less what these keys lead to.
fn without(value: &Value, keys: &[&str]) -> Value {
    let mut value = value.clone();
    if let [parents @ .., last] = keys {
        let parent = parents
            .iter()
            .try_fold(&mut value, |value, key| value.get_mut(key));
        if let Some(Value::Object(members)) = parent {
            members.remove(*last);
        }
    }
    value
}

#[cfg(test)]
mod tests;
