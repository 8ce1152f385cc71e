//! JSON Schema, as far as the document needs it.

use serde_json::Value;
use utoipa::Number;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{ArrayBuilder, Ref, RefOr, Schema};

use crate::event::shape::Shape;

pub(super) type AnySchema = RefOr<Schema>;

/// A reference to one of the document's own schemas.
pub(super) fn named(name: &str) -> AnySchema {
    Ref::from_schema_name(name).into()
}

/// The value of a column, as a filter has it.
pub(super) fn filter(shape: &Shape) -> AnySchema {
    match shape {
        Shape::Nullable(inside) | Shape::Hidden(inside) => filter(inside),
        // A NUL is in no text of Postgres'.
        Shape::Text(None) => ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[^\\u0000]*$"))
            .into(),
        Shape::Any | Shape::List(_) | Shape::Map(_) | Shape::Object(_) => text(None),
        shape => of_shape(shape, false),
    }
}

/// What a shape is in JSON Schema. A `closed` object has no other keys than those that are named.
pub(super) fn of_shape(shape: &Shape, closed: bool) -> AnySchema {
    match shape {
        Shape::Any => any(),
        Shape::Bool => ObjectBuilder::new().schema_type(Type::Boolean).into(),
        Shape::Integer { least, greatest } => integer(*least, Some(*greatest)),
        Shape::Number => ObjectBuilder::new().schema_type(Type::Number).into(),
        Shape::Text(format) => text(*format),
        Shape::Choice(texts) => words(texts.iter().copied()),
        Shape::List(item) => list(of_shape(item, closed), None),
        Shape::Map(item) => ObjectBuilder::new()
            .additional_properties(Some(of_shape(item, closed)))
            .into(),
        Shape::Nullable(inside) => nullable(of_shape(inside, closed)),
        Shape::Hidden(inside) => hidden(of_shape(inside, closed)),
        Shape::Object(members) => {
            let members = members
                .iter()
                .map(|m| (m.name, of_shape(&m.shape, closed), m.required));
            let object = object(members);
            if closed {
                object
                    .additional_properties(Some(AdditionalProperties::FreeForm(false)))
                    .into()
            } else {
                object.into()
            }
        }
    }
}

pub(super) fn object<'a>(
    members: impl IntoIterator<Item = (&'a str, AnySchema, bool)>,
) -> ObjectBuilder {
    members
        .into_iter()
        .fold(ObjectBuilder::new(), |object, (name, schema, required)| {
            let object = object.property(name, schema);
            if required {
                object.required(name)
            } else {
                object
            }
        })
}

pub(super) fn any() -> AnySchema {
    ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .into()
}

/// An object of any kind.
pub(super) fn map() -> AnySchema {
    ObjectBuilder::new()
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        .into()
}

pub(super) fn text(format: Option<&str>) -> AnySchema {
    let format = format.map(|format| SchemaFormat::Custom(format.to_owned()));
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(format)
        .into()
}

pub(super) fn matching(pattern: &str) -> AnySchema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .into()
}

pub(super) fn uuid() -> AnySchema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
        .into()
}

pub(super) fn version() -> AnySchema {
    integer(1, Some(i32::MAX.unsigned_abs().into()))
}

pub(super) fn position() -> AnySchema {
    integer(1, Some(i64::MAX.unsigned_abs()))
}

pub(super) fn integer(least: i64, greatest: Option<u64>) -> AnySchema {
    let number = |bound: i64| isize::try_from(bound).ok().map(Number::Int);
    let unsigned = |bound: u64| usize::try_from(bound).ok().map(Number::UInt);
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(number(least))
        .maximum(greatest.and_then(unsigned))
        .into()
}

/// One of these values.
pub(super) fn words<T: Into<Value>>(words: impl IntoIterator<Item = T>) -> AnySchema {
    let words: Vec<Value> = words.into_iter().map(Into::into).collect();
    let kind = if words.iter().all(Value::is_number) {
        Type::Integer
    } else {
        Type::String
    };
    ObjectBuilder::new()
        .schema_type(kind)
        .enum_values(Some(words))
        .into()
}

pub(super) fn list(items: AnySchema, least: Option<usize>) -> AnySchema {
    ArrayBuilder::new().items(items).min_items(least).into()
}

pub(super) fn nullable(schema: AnySchema) -> AnySchema {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    AnyOfBuilder::new().item(schema).item(null).into()
}

/// Taken, never shown.
pub(super) fn hidden(mut schema: AnySchema) -> AnySchema {
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        object.write_only = Some(true);
    }
    schema
}
