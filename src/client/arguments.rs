//! The arguments of the program `client`.

use std::path::PathBuf;

use super::ClientError;

/// What the program `client` is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The folder of the package.
    pub folder: PathBuf,
    /// The name of the package. Without one, a package that exists keeps its name.
    pub name: Option<String>,
    /// Only compare the folder with what would be generated.
    pub check: bool,
}

impl Arguments {
    /// Parses the arguments that follow the program's name.
    ///
    /// # Errors
    ///
    /// [`ClientError::Usage`]
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, ClientError> {
        let (mut folder, mut name, mut check) = (None, None, false);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--check" => check = true,
                "--name" => name = Some(arguments.next().ok_or(ClientError::Usage)?),
                option if option.starts_with('-') => return Err(ClientError::Usage),
                _ if folder.is_some() => return Err(ClientError::Usage),
                _ => folder = Some(PathBuf::from(argument)),
            }
        }
        let folder = folder.ok_or(ClientError::Usage)?;
        Ok(Self {
            folder,
            name,
            check,
        })
    }
}
