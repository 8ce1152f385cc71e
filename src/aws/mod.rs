//! What is asked of AWS: a secret or a token to log in to the database with, and a function to invoke.
//!
//! Three requests, so no service's client is linked: `aws-config` finds region and credentials as every SDK does,
//! `aws-sigv4` signs, and nothing is loaded before it is asked for. A function whose database is named by a URL never gets
//! here, and starts as if none of this were built in.

mod iam;
mod request;
mod secret;

pub use self::iam::IamLogin;
pub use self::request::{Aws, AwsError};
pub use self::secret::SecretLogin;
