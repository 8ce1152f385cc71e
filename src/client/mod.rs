//! Generates the package of the web client: an ES module with types for TypeScript, without dependencies.
//!
//! The types, the constructors of events and the names of the domains come from the OpenAPI document of the domains, so that the
//! client and the document cannot disagree. The runtime (`runtime.js`, `runtime.d.ts`) is the same in every package; its source is
//! in the package of this repository's own domains, the folder `client/`. Generating needs neither node nor a network, and the same
//! domains give the same bytes.
//!
//! `docs/CLIENT.md` is the guide for developers who use the package.

mod arguments;
mod declarations;
mod document;
mod error;
mod names;
mod typescript;

use std::path::Path;
use std::{fs, io};

use serde_json::Value;

pub use self::arguments::Arguments;
use self::document::Api;
pub use self::error::ClientError;
use crate::domain::Domains;
use crate::http;

/// The name of a package without `--name`.
const DEFAULT_NAME: &str = "foldlog-client";

const MANIFEST: &str = "package.json";

/// The files of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    files: Vec<(&'static str, String)>,
}

impl Package {
    /// Generates the package of these domains. `name` is its name in `package.json`.
    ///
    /// # Errors
    ///
    /// If two names of the domains become the same name in TypeScript.
    pub fn generate(domains: &Domains, name: &str) -> Result<Self, ClientError> {
        // The form for `AUTH=jwt` describes every response that a client can get.
        Self::from_document(&http::document(domains, true), name)
    }

    fn from_document(document: &Value, name: &str) -> Result<Self, ClientError> {
        let api = Api::read(document)?;
        let files = vec![
            (MANIFEST, manifest(&api, name)),
            ("index.js", module(&api)),
            ("index.d.ts", declarations::write(&api)?),
            (
                "runtime.js",
                include_str!("../../client/runtime.js").to_owned(),
            ),
            (
                "runtime.d.ts",
                include_str!("../../client/runtime.d.ts").to_owned(),
            ),
        ];
        Ok(Self { files })
    }

    /// The files: their names and contents.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, text)| (*name, text.as_str()))
    }

    /// Writes the files that differ into the folder, and creates it if it does not exist. Other files in it stay.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), ClientError> {
        fs::create_dir_all(folder).map_err(|error| ClientError::Write(folder.to_owned(), error))?;
        for (name, text) in self.differing(folder)? {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|error| ClientError::Write(path, error))?;
        }
        Ok(())
    }

    /// Fails if the folder does not have exactly these files; it may have others beside them.
    ///
    /// # Errors
    ///
    /// [`ClientError::Stale`] names the files that differ.
    pub fn check(&self, folder: &Path) -> Result<(), ClientError> {
        let differing = self.differing(folder)?;
        if differing.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = differing.iter().map(|(name, _)| *name).collect();
        Err(ClientError::Stale(folder.to_owned(), names.join(", ")))
    }

    fn differing(&self, folder: &Path) -> Result<Vec<(&'static str, &str)>, ClientError> {
        let mut differing = Vec::new();
        for (name, text) in &self.files {
            let path = folder.join(name);
            match fs::read(&path) {
                Ok(bytes) if bytes == text.as_bytes() => {}
                Ok(_) => differing.push((*name, text.as_str())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    differing.push((*name, text.as_str()));
                }
                Err(error) => return Err(ClientError::Read(path, error)),
            }
        }
        Ok(differing)
    }
}

/// Does what the arguments of the program `client` ask for.
///
/// # Errors
///
/// If the package cannot be generated, read or written, or with `--check` if it is stale.
pub fn run(domains: &Domains, arguments: &Arguments) -> Result<(), ClientError> {
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => name_in(&arguments.folder)?,
    };
    let package = Package::generate(domains, &name)?;
    if arguments.check {
        package.check(&arguments.folder)
    } else {
        package.write(&arguments.folder)
    }
}

/// The name that the package in this folder has already.
fn name_in(folder: &Path) -> Result<String, ClientError> {
    let path = folder.join(MANIFEST);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let manifest: Option<Value> = serde_json::from_str(&text).ok();
            let name = manifest.and_then(|manifest| manifest["name"].as_str().map(str::to_owned));
            name.ok_or(ClientError::Manifest(path))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(DEFAULT_NAME.to_owned()),
        Err(error) => Err(ClientError::Read(path, error)),
    }
}

fn manifest(api: &Api<'_>, name: &str) -> String {
    let quote = |text: &str| Value::from(text).to_string();
    format!(
        r#"{{
  "name": {name},
  "version": {version},
  "description": "Generated client of a foldlog API",
  "type": "module",
  "exports": {{
    ".": {{ "types": "./index.d.ts", "default": "./index.js" }},
    "./runtime.js": {{ "types": "./runtime.d.ts", "default": "./runtime.js" }}
  }},
  "types": "./index.d.ts",
  "sideEffects": false,
  "files": ["index.js", "index.d.ts", "runtime.js", "runtime.d.ts"],
  "foldlog": {{ "document": {hash} }}
}}
"#,
        name = quote(name),
        version = quote(api.version),
        hash = quote(api.hash),
    )
}

/// `index.js`.
fn module(api: &Api<'_>) -> String {
    let constants = api.domains.iter().map(|domain| {
        let constructors = domain.events.iter().map(|event| {
            let (name, type_id) = (&event.constructor, event.type_id);
            format!("  {name}: /* @__PURE__ */ $.event({type_id}),\n")
        });
        let constructors = constructors.collect::<String>();
        format!("export const {} = {{\n{constructors}}};\n\n", domain.export)
    });
    let names: Vec<_> = api
        .domains
        .iter()
        .map(|domain| format!("\"{}\"", domain.name))
        .collect();
    format!(
        r#"// {generated}
import * as $ from "./runtime.js";

export {{ ProblemError, is, newId, queries }} from "./runtime.js";

export const documentHash = "{hash}";

{constants}export const foldlog = (options) => $.connect([{names}], documentHash, options);
"#,
        generated = document::GENERATED,
        hash = api.hash,
        constants = constants.collect::<String>(),
        names = names.join(", "),
    )
}
