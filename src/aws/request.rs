//! Signed requests to AWS services.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use aws_types::service_config::ServiceConfigKey;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;
use serde_json::Value;

/// How long a service may take to respond.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// The lifetime of a database token: the maximum that RDS accepts.
const TOKEN_LIFETIME: Duration = Duration::from_mins(15);

/// The characters that are percent-encoded in a path segment: all but the unreserved ones of RFC 3986.
const SEGMENT_ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The DNS suffixes of AWS's partitions, by the prefix of their regions. All other regions are in `amazonaws.com`.
const DNS_SUFFIXES: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
];

/// A service of AWS.
#[derive(Clone, Copy)]
struct Service {
    /// Its name in host names and signatures.
    name: &'static str,
    /// Its name in configuration, as in `AWS_ENDPOINT_URL_SECRETS_MANAGER`.
    id: &'static str,
}

const SECRETS_MANAGER: Service = Service {
    name: "secretsmanager",
    id: "Secrets Manager",
};
const LAMBDA: Service = Service {
    name: "lambda",
    id: "Lambda",
};

/// Region, credentials and an HTTP client.
#[derive(Debug)]
pub struct Aws {
    config: SdkConfig,
    client: Client,
}

/// Why a request to AWS failed. It contains no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AwsError {
    /// The environment names no region.
    #[error("no AWS region is configured: set AWS_REGION")]
    NoRegion,
    /// The environment has no credentials.
    #[error("no AWS credentials are available: give the function or the task a role")]
    NoCredentials,
    /// The request cannot be signed.
    #[error("cannot sign a request to {0}")]
    Sign(&'static str),
    /// The service cannot be reached.
    #[error("cannot reach {service}{}", if *.timeout { ": no response in time; check that the VPC has an endpoint for it" } else { "" })]
    Unreachable {
        /// The service.
        service: &'static str,
        /// Whether the connection or the response timed out.
        timeout: bool,
    },
    /// The service rejected the request.
    #[error("{service} answered {status} {code}")]
    Rejected {
        /// The service.
        service: &'static str,
        /// The HTTP status code.
        status: u16,
        /// The name of the error, like `ResourceNotFoundException`.
        code: String,
    },
    /// The response does not have the documented format.
    #[error("cannot parse the response of {0}")]
    Unreadable(&'static str),
}

/// The body of an error response.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "__type", alias = "Type", alias = "code", default)]
    name: String,
}

impl Aws {
    /// Finds region and credentials as all AWS SDKs do: in the environment, the container or the instance.
    pub async fn load() -> Self {
        Self {
            config: aws_config::load_from_env().await,
            client: Client::new(),
        }
    }

    /// Reads the text of a secret from Secrets Manager.
    ///
    /// # Errors
    ///
    /// See [`AwsError`].
    pub async fn secret(&self, arn: &str) -> Result<String, AwsError> {
        let body = serde_json::json!({ "SecretId": arn }).to_string();
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "secretsmanager.GetSecretValue"),
        ];
        let request = self.post(SECRETS_MANAGER, "/", &headers, body).await?;
        let unreadable = || AwsError::Unreadable(SECRETS_MANAGER.name);
        let response = send(SECRETS_MANAGER.name, request).await?;
        let response: Value = response.json().await.map_err(|_| unreadable())?;
        let text = response["SecretString"].as_str();
        text.map(ToOwned::to_owned).ok_or_else(unreadable)
    }

    /// Invokes a function asynchronously: returns once Lambda has queued the invocation.
    ///
    /// # Errors
    ///
    /// See [`AwsError`].
    pub async fn invoke_async(&self, function: &str, payload: &str) -> Result<(), AwsError> {
        // `function` may be an ARN, which contains colons.
        let function = utf8_percent_encode(function, SEGMENT_ENCODED);
        let path = format!("/2015-03-31/functions/{function}/invocations");
        let headers = [
            ("content-type", "application/json"),
            ("x-amz-invocation-type", "Event"),
        ];
        let request = self
            .post(LAMBDA, &path, &headers, payload.to_owned())
            .await?;
        send(LAMBDA.name, request).await?;
        Ok(())
    }

    /// Signs an IAM token, the password for one connection to RDS: a presigned URL without its scheme.
    ///
    /// # Errors
    ///
    /// See [`AwsError`].
    pub async fn database_token(
        &self,
        host: &str,
        port: u16,
        user: &str,
    ) -> Result<String, AwsError> {
        const SERVICE: &str = "rds-db";
        let bad = || AwsError::Sign(SERVICE);
        let mut url = Url::parse(&format!("https://{host}:{port}/")).map_err(|_| bad())?;
        url.query_pairs_mut()
            .append_pair("Action", "connect")
            .append_pair("DBUser", user);
        let mut settings = SigningSettings::default();
        settings.expires_in = Some(TOKEN_LIFETIME);
        settings.signature_location = SignatureLocation::QueryParams;
        let signed = self
            .sign(SERVICE, "GET", url.as_str(), &[], &[], settings)
            .await?;
        for (name, value) in signed.params {
            url.query_pairs_mut().append_pair(name, &value);
        }
        let url = url.as_str();
        Ok(url.strip_prefix("https://").unwrap_or(url).to_owned())
    }

    async fn post(
        &self,
        service: Service,
        path: &str,
        headers: &[(&'static str, &str)],
        body: String,
    ) -> Result<RequestBuilder, AwsError> {
        let url = format!("{}{path}", self.endpoint(service)?);
        let settings = SigningSettings::default();
        let signed = self
            .sign(
                service.name,
                "POST",
                &url,
                headers,
                body.as_bytes(),
                settings,
            )
            .await?;
        let mut request = self.client.post(url).timeout(REQUEST_TIMEOUT).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in signed.headers {
            request = request.header(name, value);
        }
        Ok(request)
    }

    /// `AWS_ENDPOINT_URL_<SERVICE>` or `AWS_ENDPOINT_URL`, from the environment or the profile as in all AWS SDKs; otherwise the
    /// service's endpoint in the region.
    fn endpoint(&self, service: Service) -> Result<String, AwsError> {
        let key = ServiceConfigKey::builder()
            .service_id(service.id)
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build();
        let configured = self.config.service_config().zip(key.ok());
        let configured = configured.and_then(|(config, key)| config.load_config(key));
        match configured.as_deref().or(self.config.endpoint_url()) {
            Some(url) => Ok(url.trim_end_matches('/').to_owned()),
            None => Ok(regional_endpoint(service.name, self.region()?)),
        }
    }

    fn region(&self) -> Result<&str, AwsError> {
        self.config
            .region()
            .map(AsRef::as_ref)
            .ok_or(AwsError::NoRegion)
    }

    async fn sign(
        &self,
        service: &'static str,
        method: &str,
        url: &str,
        headers: &[(&'static str, &str)],
        body: &[u8],
        settings: SigningSettings,
    ) -> Result<Signed, AwsError> {
        let provider = self.config.credentials_provider();
        let provider = provider.ok_or(AwsError::NoCredentials)?;
        let credentials = provider.provide_credentials().await;
        let identity = credentials.map_err(|_| AwsError::NoCredentials)?.into();
        let bad = || AwsError::Sign(service);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region()?)
            .name(service)
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|_| bad())?
            .into();
        let headers = headers.iter().copied();
        let request = SignableRequest::new(method, url, headers, SignableBody::Bytes(body));
        let signed = sign(request.map_err(|_| bad())?, &params).map_err(|_| bad())?;
        let (instructions, _) = signed.into_parts();
        let (headers, params) = instructions.into_parts();
        let headers = headers
            .iter()
            .map(|header| (header.name().to_owned(), header.value().to_owned()));
        Ok(Signed {
            headers: headers.collect(),
            params,
        })
    }
}

/// The headers and query parameters that a signature adds to a request.
struct Signed {
    headers: Vec<(String, String)>,
    params: Vec<(&'static str, Cow<'static, str>)>,
}

fn regional_endpoint(service: &str, region: &str) -> String {
    let suffix = DNS_SUFFIXES
        .iter()
        .find(|(prefix, _)| region.starts_with(prefix));
    let suffix = suffix.map_or("amazonaws.com", |(_, suffix)| suffix);
    format!("https://{service}.{region}.{suffix}")
}

async fn send(
    service: &'static str,
    request: RequestBuilder,
) -> Result<reqwest::Response, AwsError> {
    let response = request.send().await.map_err(|e| AwsError::Unreachable {
        service,
        timeout: e.is_timeout() || e.is_connect(),
    })?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.json::<ErrorBody>().await;
    // Some services prefix the name with a namespace.
    let code = body.map_or(String::new(), |body| {
        body.name.rsplit('#').next().unwrap_or_default().to_owned()
    });
    Err(AwsError::Rejected {
        service,
        status: status.as_u16(),
        code,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_in_the_partition_of_the_region() {
        for (region, suffix) in [
            ("eu-central-1", "amazonaws.com"),
            ("us-gov-west-1", "amazonaws.com"),
            ("cn-north-1", "amazonaws.com.cn"),
            ("us-iso-east-1", "c2s.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov"),
            ("us-isof-south-1", "csp.hci.ic.gov"),
            ("eu-isoe-west-1", "cloud.adc-e.uk"),
            ("eusc-de-east-1", "amazonaws.eu"),
        ] {
            let endpoint = regional_endpoint("lambda", region);
            assert_eq!(endpoint, format!("https://lambda.{region}.{suffix}"));
        }
    }
}
