//! The three requests to AWS: read a secret, sign an IAM token for the database, and invoke a function.
//!
//! No service client is linked, because the SDK's clients would add 7.5 MB to each function. `aws-config` finds region and
//! credentials as in every AWS SDK, `aws-sigv4` signs, and both are loaded on first use: a function with a
//! `DATABASE_URL` never loads them.

mod iam;
mod request;
mod secret;

pub use self::iam::IamLogin;
pub use self::request::{Aws, AwsError};
pub use self::secret::SecretLogin;
