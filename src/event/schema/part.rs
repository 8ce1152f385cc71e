//! The parts of a derived schema.

use utoipa::openapi::schema::{AdditionalProperties, ArrayItems, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};

/// The part of a schema that a walk has reached.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    Reference(&'a utoipa::openapi::Ref),
    Schema(&'a Schema),
}

impl<'a> From<&'a RefOr<Schema>> for Part<'a> {
    fn from(schema: &'a RefOr<Schema>) -> Self {
        match schema {
            RefOr::Ref(reference) => Part::Reference(reference),
            RefOr::T(schema) => Part::Schema(schema),
        }
    }
}

/// How one part of a schema contains another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// The value of a property with this name.
    Property(&'a str),
    /// A key of a map.
    MapKey,
    /// One of several objects that are merged into one: `flatten`, or the content of an internally tagged variant.
    Merged,
    /// One of several alternatives, which is merged where they are.
    Alternative,
    /// An item of an array, or a value of a map.
    Inside,
}

/// Whether [`Secret`](crate::event::Secret) or [`Password`](crate::event::Password) has marked this schema.
pub(super) fn is_marked(schema: &Schema) -> bool {
    let extensions = match schema {
        Schema::Object(object) => return object.write_only == Some(true),
        Schema::Array(array) => &array.extensions,
        Schema::OneOf(one_of) => &one_of.extensions,
        Schema::AllOf(all_of) => &all_of.extensions,
        Schema::AnyOf(any_of) => &any_of.extensions,
        _ => return false,
    };
    extensions
        .as_ref()
        .is_some_and(|extensions| extensions.contains_key("writeOnly"))
}

/// What an optional schema describes beside `null`.
pub(super) fn nullable(schema: &Schema) -> Option<&RefOr<Schema>> {
    let Schema::OneOf(one_of) = schema else {
        return None;
    };
    let is_null = |item: &RefOr<Schema>| matches!(item, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null));
    match one_of.items.as_slice() {
        [null, item] | [item, null] if is_null(null) => Some(item),
        _ => None,
    }
}

fn alternatives(items: &[RefOr<Schema>]) -> Vec<(Step<'_>, Part<'_>)> {
    items
        .iter()
        .map(|item| (Step::Alternative, item.into()))
        .collect()
}

pub(super) fn children(schema: &Schema) -> Vec<(Step<'_>, Part<'_>)> {
    match schema {
        Schema::Object(object) => {
            let mut parts: Vec<_> = object
                .properties
                .iter()
                .map(|(name, schema)| (Step::Property(name), schema.into()))
                .collect();
            if let Some(AdditionalProperties::RefOr(value)) =
                object.additional_properties.as_deref()
            {
                parts.push((Step::Inside, value.into()));
            }
            if let Some(key) = object.property_names.as_deref() {
                parts.push((Step::MapKey, Part::Schema(key)));
            }
            parts
        }
        Schema::Array(array) => {
            let item = |schema| (Step::Inside, Part::Schema(schema));
            let mut parts: Vec<_> = array.prefix_items.iter().map(item).collect();
            if let ArrayItems::RefOrSchema(item) = &array.items {
                parts.push((Step::Inside, (&**item).into()));
            }
            parts
        }
        Schema::OneOf(one_of) => alternatives(&one_of.items),
        Schema::AnyOf(any_of) => alternatives(&any_of.items),
        Schema::AllOf(all_of) => {
            let merged = |item| (Step::Merged, Part::from(item));
            all_of.items.iter().map(merged).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether this is what utoipa derives from a tuple struct or a tuple variant with fields of different types: a list of
/// as many objects as there are fields, whatever the types are.
pub(super) fn is_undescribed_tuple(schema: &Schema) -> bool {
    let Schema::Array(array) = schema else {
        return false;
    };
    let ArrayItems::RefOrSchema(item) = &array.items else {
        return false;
    };
    let RefOr::T(Schema::Object(item)) = &**item else {
        return false;
    };
    array.min_items.is_some()
        && array.min_items == array.max_items
        && item.schema_type == SchemaType::Type(Type::Object)
        && item.properties.is_empty()
        && item.additional_properties.is_none()
}
