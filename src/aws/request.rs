//! Signed requests.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;
use serde_json::Value;

/// How long a service may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a database token is good for: the most that RDS takes.
const TOKEN: Duration = Duration::from_mins(15);

/// Region, credentials and a client; made when it is first needed.
#[derive(Debug)]
pub struct Aws {
    config: SdkConfig,
    client: Client,
}

/// Why AWS could not be asked, or what it said. Holds no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AwsError {
    /// No region.
    #[error("AWS has no region here: set AWS_REGION")]
    NoRegion,
    /// No credentials.
    #[error("AWS has no credentials here: give the function or the task a role")]
    NoCredentials,
    /// The request cannot be signed.
    #[error("a request to {0} cannot be signed")]
    Sign(&'static str),
    /// The service cannot be reached.
    #[error("{service} cannot be reached{}", if *.timeout { ": it did not answer in time; does the VPC have an endpoint for it?" } else { "" })]
    Unreachable {
        /// Which.
        service: &'static str,
        /// Whether it did not answer in time.
        timeout: bool,
    },
    /// The service refused.
    #[error("{service} answered {status} {code}")]
    Refused {
        /// Which.
        service: &'static str,
        /// HTTP's.
        status: u16,
        /// The name of the error, like `ResourceNotFoundException`.
        code: String,
    },
    /// It answered something else than it should.
    #[error("{0} gave an answer that cannot be read")]
    Unreadable(&'static str),
}

/// How an error names itself.
#[derive(Deserialize)]
struct Named {
    #[serde(rename = "__type", alias = "Type", alias = "code", default)]
    name: String,
}

impl Aws {
    /// Region and credentials as the environment, the container or the machine have them.
    pub async fn load() -> Self {
        Self {
            config: aws_config::load_from_env().await,
            client: Client::new(),
        }
    }

    /// The text of a secret of Secrets Manager.
    ///
    /// # Errors
    ///
    /// See [`AwsError`].
    pub async fn secret(&self, arn: &str) -> Result<String, AwsError> {
        const SERVICE: &str = "secretsmanager";
        let body = serde_json::json!({ "SecretId": arn }).to_string();
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "secretsmanager.GetSecretValue"),
        ];
        let request = self.post(SERVICE, "/", &headers, body).await?;
        let answer: Value = send(SERVICE, request)
            .await?
            .json()
            .await
            .map_err(|_| AwsError::Unreadable(SERVICE))?;
        let text = answer["SecretString"].as_str();
        text.map(ToOwned::to_owned)
            .ok_or(AwsError::Unreadable(SERVICE))
    }

    /// Starts a function and does not wait for what it does.
    ///
    /// # Errors
    ///
    /// See [`AwsError`].
    pub async fn invoke_async(&self, function: &str, payload: &str) -> Result<(), AwsError> {
        const SERVICE: &str = "lambda";
        // A function may be named by its ARN, which has colons.
        let function = function.replace(':', "%3A");
        let path = format!("/2015-03-31/functions/{function}/invocations");
        let headers = [
            ("content-type", "application/json"),
            ("x-amz-invocation-type", "Event"),
        ];
        let request = self
            .post(SERVICE, &path, &headers, payload.to_owned())
            .await?;
        send(SERVICE, request).await?;
        Ok(())
    }

    /// A password for one connection to RDS, signed here: a URL without its scheme.
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
        settings.expires_in = Some(TOKEN);
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
        service: &'static str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: String,
    ) -> Result<RequestBuilder, AwsError> {
        let url = format!("{}{path}", self.endpoint(service)?);
        let settings = SigningSettings::default();
        let signed = self
            .sign(service, "POST", &url, headers, body.as_bytes(), settings)
            .await?;
        let mut request = self.client.post(url).timeout(PATIENCE).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in signed.headers {
            request = request.header(name, value);
        }
        Ok(request)
    }

    /// `AWS_ENDPOINT_URL`, as all SDKs read it, or the region's own.
    fn endpoint(&self, service: &str) -> Result<String, AwsError> {
        if let Some(url) = self.config.endpoint_url() {
            return Ok(url.trim_end_matches('/').to_owned());
        }
        let region = self.region()?;
        let china = if region.starts_with("cn-") { ".cn" } else { "" };
        Ok(format!("https://{service}.{region}.amazonaws.com{china}"))
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

/// What a signature adds to a request.
struct Signed {
    headers: Vec<(String, String)>,
    params: Vec<(&'static str, Cow<'static, str>)>,
}

async fn send(
    service: &'static str,
    request: RequestBuilder,
) -> Result<reqwest::Response, AwsError> {
    let answer = request.send().await.map_err(|e| AwsError::Unreachable {
        service,
        timeout: e.is_timeout() || e.is_connect(),
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let named = answer.json::<Named>().await;
    // Some services put a namespace before it.
    let code = named.map_or(String::new(), |named| {
        named.name.rsplit('#').next().unwrap_or_default().to_owned()
    });
    Err(AwsError::Refused {
        service,
        status: status.as_u16(),
        code,
    })
}
