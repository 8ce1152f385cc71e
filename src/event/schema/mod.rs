//! The JSON Schema that a type derives, and where secrets lie in it.

use std::collections::{BTreeMap, BTreeSet};

use utoipa::ToSchema;
use utoipa::openapi::schema::{AdditionalProperties, ArrayItems, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};

/// A derived schema together with the schemas that it refers to as `#/components/schemas/…`.
#[derive(Clone)]
pub struct TypeSchema {
    /// The schema of the type itself.
    pub schema: RefOr<Schema>,
    /// The schemas that it refers to, directly or indirectly, by their names.
    pub components: BTreeMap<String, RefOr<Schema>>,
}

impl std::fmt::Debug for TypeSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TypeSchema")
            .field("components", &self.components.keys())
            .finish_non_exhaustive()
    }
}

/// The part of a schema that a walk has reached.
#[derive(Clone, Copy)]
enum Part<'a> {
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
enum Step<'a> {
    /// The value of a property with this name.
    Property(&'a str),
    /// A key of a map.
    MapKey,
    /// One of several objects that are merged into one: `flatten`, or the content of an internally tagged variant.
    Merged,
    /// An item of an array, a value of a map, or an alternative.
    Inside,
}

impl TypeSchema {
    /// The schema that `T` derives.
    #[must_use]
    pub fn from_type<T: ToSchema>() -> Self {
        let mut components = Vec::new();
        T::schemas(&mut components);
        Self {
            schema: T::schema(),
            components: components.into_iter().collect(),
        }
    }

    /// The properties of a struct with named fields, in declared order; empty for every other type.
    #[must_use]
    pub fn properties(&self) -> Vec<(&str, &RefOr<Schema>)> {
        match self.resolve((&self.schema).into()) {
            Some(Schema::Object(object)) => object
                .properties
                .iter()
                .map(|(name, schema)| (name.as_str(), schema))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Whether `part` is a [`Secret`](super::Secret), a [`Password`](super::Password), or an option of one.
    #[must_use]
    pub fn is_secret(&self, part: &RefOr<Schema>) -> bool {
        self.is_secret_part(part.into(), &mut BTreeSet::new())
    }

    /// Whether `part` is a secret, or contains one at any depth.
    #[must_use]
    pub fn contains_secret(&self, part: &RefOr<Schema>) -> bool {
        let mut found = self.is_secret(part);
        self.walk(
            part.into(),
            "",
            &mut BTreeSet::new(),
            &mut |_, secret, _| {
                found |= secret;
            },
        );
        found
    }

    /// The names of all properties that are secrets, at any depth.
    #[must_use]
    pub fn secret_names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.walk(
            (&self.schema).into(),
            "",
            &mut BTreeSet::new(),
            &mut |step, secret, _| {
                if let (Step::Property(name), true) = (step, secret) {
                    names.insert(name.to_owned());
                }
            },
        );
        names
    }

    /// The path of a secret that cannot be left out of JSON, if there is one: serde writes the key of a map as a plain
    /// text, and merges a flattened value or the content of an internally tagged variant into the object around it.
    #[must_use]
    pub fn unhideable_secret(&self) -> Option<String> {
        let mut unhideable = None;
        self.walk(
            (&self.schema).into(),
            "",
            &mut BTreeSet::new(),
            &mut |step, secret, path| {
                if secret && matches!(step, Step::MapKey | Step::Merged) {
                    unhideable.get_or_insert_with(|| path.to_owned());
                }
            },
        );
        if self.is_secret(&self.schema) {
            unhideable.get_or_insert_with(String::new);
        }
        unhideable
    }

    /// The name of a schema that is referred to and not included: utoipa leaves out the argument of a generic type.
    #[must_use]
    pub fn missing_component(&self) -> Option<&str> {
        let mut pending = vec![Part::from(&self.schema)];
        pending.extend(self.components.values().map(Part::from));
        while let Some(part) = pending.pop() {
            match part {
                Part::Schema(schema) => {
                    pending.extend(children(schema).into_iter().map(|(_, child)| child));
                }
                Part::Reference(reference) => {
                    if self.component(reference).is_none() {
                        return Some(&reference.ref_location);
                    }
                }
            }
        }
        None
    }

    /// The fields of variant number `index` of an externally tagged enum.
    pub(super) fn variant(self, index: usize) -> Option<Self> {
        let Self { schema, components } = self;
        let RefOr::T(Schema::OneOf(variants)) = schema else {
            return None;
        };
        let RefOr::T(Schema::Object(variant)) = variants.items.into_iter().nth(index)? else {
            return None;
        };
        let (_, mut schema) = variant.properties.into_iter().next()?;
        if let RefOr::T(Schema::Object(fields)) = &mut schema {
            fields.description = fields.description.take().or(variant.description);
        }
        Some(Self { schema, components })
    }

    fn resolve<'a>(&'a self, part: Part<'a>) -> Option<&'a Schema> {
        let mut part = part;
        // A cycle of references describes nothing, so the number of components bounds the walk.
        for _ in 0..=self.components.len() {
            match part {
                Part::Schema(schema) => return Some(schema),
                Part::Reference(reference) => part = self.component(reference)?.into(),
            }
        }
        None
    }

    fn component(&self, reference: &utoipa::openapi::Ref) -> Option<&RefOr<Schema>> {
        let name = reference.ref_location.rsplit('/').next()?;
        self.components.get(name)
    }

    fn is_secret_part<'a>(&'a self, part: Part<'a>, seen: &mut BTreeSet<&'a str>) -> bool {
        match part {
            Part::Reference(reference) => {
                reference.write_only == Some(true)
                    || (seen.insert(&reference.ref_location)
                        && self
                            .component(reference)
                            .is_some_and(|target| self.is_secret_part(target.into(), seen)))
            }
            Part::Schema(schema) => {
                is_marked(schema)
                    || nullable(schema)
                        .is_some_and(|inside| self.is_secret_part(inside.into(), seen))
            }
        }
    }

    /// Calls `visit` for every part below `part` with the way it is contained, whether it is a secret, and its path.
    fn walk<'a>(
        &'a self,
        part: Part<'a>,
        path: &str,
        seen: &mut BTreeSet<&'a str>,
        visit: &mut dyn FnMut(Step<'a>, bool, &str),
    ) {
        let schema = match part {
            Part::Schema(schema) => schema,
            Part::Reference(reference) => {
                if seen.insert(&reference.ref_location)
                    && let Some(target) = self.component(reference)
                {
                    self.walk(target.into(), path, seen, visit);
                }
                return;
            }
        };
        for (step, child) in children(schema) {
            let path = match step {
                Step::Property(name) if path.is_empty() => name.to_owned(),
                Step::Property(name) => format!("{path}.{name}"),
                Step::MapKey => format!("{path} (map key)"),
                Step::Merged | Step::Inside => path.to_owned(),
            };
            let secret = self.is_secret_part(child, &mut BTreeSet::new());
            visit(step, secret, &path);
            self.walk(child, &path, seen, visit);
        }
    }
}

/// Whether [`Secret`](super::Secret) or [`Password`](super::Password) has marked this schema.
fn is_marked(schema: &Schema) -> bool {
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
fn nullable(schema: &Schema) -> Option<&RefOr<Schema>> {
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
        .map(|item| (Step::Inside, item.into()))
        .collect()
}

fn children(schema: &Schema) -> Vec<(Step<'_>, Part<'_>)> {
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

#[cfg(test)]
mod tests;
