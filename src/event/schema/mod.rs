//! The JSON Schema that a type derives, and where secrets lie in it.

mod example;
mod part;

use std::collections::{BTreeMap, BTreeSet};

use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

pub(crate) use self::example::{Samples, example_value};
use self::part::{Part, Step, children, is_marked, is_undescribed_tuple, nullable};

/// A derived schema together with the schemas that it refers to as `#/components/schemas/…`.
#[derive(Clone)]
pub struct TypeSchema {
    /// The schema of the type itself.
    pub schema: RefOr<Schema>,
    /// The schemas that it refers to, directly or indirectly, by their names.
    pub components: BTreeMap<String, RefOr<Schema>>,
    /// A name that two different schemas have; `components` has one of them.
    ambiguous: Option<String>,
}

/// Why a type's schema does not show where its secrets are, or why a secret in it cannot be hidden.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypeSchemaError {
    /// serde drops the marker of a secret at this path, so that it would be stored and shown.
    #[error(
        "the secret at `{0}` cannot be hidden; do not flatten a secret, make it a map key, or make it the content of an \
         internally tagged variant"
    )]
    UnhideableSecret(String),
    /// Whether this schema contains a secret is unknown: utoipa leaves out the argument of some generic types, and what the
    /// items of a tuple refer to.
    #[error(
        "the schema refers to `{0}`, which it does not include; use a struct with named fields in place of the tuple or \
         the generic type around it"
    )]
    Missing(String),
    /// Whether a field of a tuple struct or tuple variant is a secret is unknown: utoipa leaves out their types.
    #[error(
        "the schema has a tuple struct or a tuple variant with fields of different types, which it does not describe; name \
         the fields, or put one tuple in their place"
    )]
    UndescribedTuple,
    /// Two types have this name, so that the schema of one of them stands for both.
    #[error(
        "two types are named `{0}`; give one of them another name in the schema, with `#[schema(as = …)]`"
    )]
    AmbiguousName(String),
}

impl std::fmt::Debug for TypeSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TypeSchema")
            .field("components", &self.components.keys())
            .finish_non_exhaustive()
    }
}

impl TypeSchema {
    /// The schema that `T` derives.
    #[must_use]
    pub fn from_type<T: ToSchema>() -> Self {
        let mut named = Vec::new();
        T::schemas(&mut named);
        let (mut components, mut ambiguous) = (BTreeMap::new(), None);
        for (name, schema) in named {
            let other = components.insert(name.clone(), schema);
            if other.is_some_and(|other| other != components[&name]) {
                ambiguous = Some(name);
            }
        }
        Self {
            schema: T::schema(),
            components,
            ambiguous,
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

    /// The names of the properties without which a struct is not read, in declared order; none for every other type.
    #[must_use]
    pub fn required_properties(&self) -> Vec<&str> {
        match self.resolve((&self.schema).into()) {
            Some(Schema::Object(object)) => object.required.iter().map(String::as_str).collect(),
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
            (part.into(), false),
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
            ((&self.schema).into(), false),
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

    /// Checks that every secret in the type can be found and left out of JSON.
    ///
    /// # Errors
    ///
    /// See [`TypeSchemaError`].
    pub fn check(&self) -> Result<(), TypeSchemaError> {
        if let Some(name) = &self.ambiguous {
            return Err(TypeSchemaError::AmbiguousName(name.clone()));
        }
        self.check_complete()?;
        match self.unhideable_secret() {
            Some(path) => Err(TypeSchemaError::UnhideableSecret(path)),
            None => Ok(()),
        }
    }

    /// The path of a secret that cannot be left out of JSON, if there is one: serde writes the key of a map as a plain
    /// text, and merges a flattened value or the content of an internally tagged variant into the object around it.
    fn unhideable_secret(&self) -> Option<String> {
        let mut unhideable = None;
        self.walk(
            ((&self.schema).into(), false),
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

    /// Checks that the schema describes all parts of the type.
    fn check_complete(&self) -> Result<(), TypeSchemaError> {
        let mut pending = vec![Part::from(&self.schema)];
        pending.extend(self.components.values().map(Part::from));
        while let Some(part) = pending.pop() {
            match part {
                Part::Schema(schema) if is_undescribed_tuple(schema) => {
                    return Err(TypeSchemaError::UndescribedTuple);
                }
                Part::Schema(schema) => {
                    pending.extend(children(schema).into_iter().map(|(_, child)| child));
                }
                Part::Reference(reference) if self.component(reference).is_none() => {
                    return Err(TypeSchemaError::Missing(reference.ref_location.clone()));
                }
                Part::Reference(_) => {}
            }
        }
        Ok(())
    }

    /// The fields of variant number `index` of an externally tagged enum.
    pub(super) fn variant(self, index: usize) -> Option<Self> {
        let RefOr::T(Schema::OneOf(variants)) = self.schema else {
            return None;
        };
        let RefOr::T(Schema::Object(variant)) = variants.items.into_iter().nth(index)? else {
            return None;
        };
        let (_, mut schema) = variant.properties.into_iter().next()?;
        if let RefOr::T(Schema::Object(fields)) = &mut schema {
            fields.description = fields.description.take().or(variant.description);
        }
        Some(Self { schema, ..self })
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
    /// `part` comes with whether it is merged into the object around it; `seen` are the components visited so far.
    fn walk<'a>(
        &'a self,
        (part, merged): (Part<'a>, bool),
        path: &str,
        seen: &mut BTreeSet<(&'a str, bool)>,
        visit: &mut dyn FnMut(Step<'a>, bool, &str),
    ) {
        let schema = match part {
            Part::Schema(schema) => schema,
            Part::Reference(reference) => {
                if seen.insert((&reference.ref_location, merged))
                    && let Some(target) = self.component(reference)
                {
                    self.walk((target.into(), merged), path, seen, visit);
                }
                return;
            }
        };
        for (step, child) in children(schema) {
            let step = match step {
                Step::Alternative if merged => Step::Merged,
                step => step,
            };
            let path = match step {
                Step::Property(name) if path.is_empty() => name.to_owned(),
                Step::Property(name) => format!("{path}.{name}"),
                Step::MapKey => format!("{path} (map key)"),
                Step::Merged | Step::Alternative | Step::Inside => path.to_owned(),
            };
            let secret = self.is_secret_part(child, &mut BTreeSet::new());
            visit(step, secret, &path);
            self.walk((child, step == Step::Merged), &path, seen, visit);
        }
    }
}

#[cfg(test)]
mod tests;
