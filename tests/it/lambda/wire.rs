//! One request, as bytes to a socket and as the event of each kind of gateway; and an answer, from either.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request as a client writes it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    /// Escaped, as in a request line.
    pub path: String,
    pub query: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// What stands between client and function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    RestApi,
    HttpApi,
    HttpApiWithStage,
    FunctionUrl,
    LoadBalancer,
    LoadBalancerMultiValue,
}

pub const GATEWAYS: [Gateway; 6] = [
    Gateway::RestApi,
    Gateway::HttpApi,
    Gateway::HttpApiWithStage,
    Gateway::FunctionUrl,
    Gateway::LoadBalancer,
    Gateway::LoadBalancerMultiValue,
];

/// What a client hears, less what is the transport's.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard {
    pub status: u64,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: "",
            headers: vec![("host", "api.example.org".to_owned())],
            body: Vec::new(),
        }
        .with_header("x-request-id", "a-test")
    }

    pub fn asking(self, query: &'static str) -> Self {
        Self { query, ..self }
    }

    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn sending(self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        self.with_header("content-length", body.len().to_string())
            .holding(body)
    }

    fn holding(self, body: Vec<u8>) -> Self {
        Self { body, ..self }
    }

    /// Whether a gateway can say this at all: some know one value a name only.
    pub fn fits(&self, gateway: Gateway) -> bool {
        let mut names: Vec<_> = self.headers.iter().map(|(name, _)| *name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        let (once, parameters) = (names.len() == all, self.parameters());
        let mut asked: Vec<_> = parameters.iter().map(|(name, _)| name).collect();
        asked.sort();
        asked.dedup();
        let asked_once = asked.len() == parameters.len();
        match gateway {
            Gateway::RestApi | Gateway::LoadBalancerMultiValue => true,
            Gateway::LoadBalancer => once && asked_once,
            _ => once,
        }
    }

    /// As the event of a gateway.
    pub fn event(&self, gateway: Gateway) -> Value {
        let text = String::from_utf8(self.body.clone()).ok();
        let text = text.filter(|_| gateway != Gateway::FunctionUrl);
        let encoded = text.is_none();
        let body = text.unwrap_or_else(|| STANDARD.encode(&self.body));
        let body = if self.body.is_empty() {
            Value::Null
        } else {
            body.into()
        };
        let encoded = encoded && !body.is_null();
        let single = |pairs: &[(String, String)]| -> Value {
            pairs
                .iter()
                .map(|(n, v)| (n.clone(), json!(v)))
                .collect::<Map<_, _>>()
                .into()
        };
        let multi = |pairs: &[(String, String)]| -> Value {
            let mut map = Map::new();
            for (name, value) in pairs {
                let values = map.entry(name.clone()).or_insert_with(|| json!([]));
                values.as_array_mut().unwrap().push(json!(value));
            }
            map.into()
        };
        let headers = self
            .headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), v.clone()));
        let headers: Vec<_> = headers.collect();
        let raw: Vec<_> = self.parameters();
        let decoded: Vec<_> = raw
            .iter()
            .map(|(n, v)| (decoded(n, true), decoded(v, true)))
            .collect();
        match gateway {
            Gateway::RestApi => json!({
                "resource": "/{proxy+}", "path": self.path, "httpMethod": self.method,
                "headers": single(&headers), "multiValueHeaders": multi(&headers),
                "queryStringParameters": single(&decoded), "multiValueQueryStringParameters": multi(&decoded),
                "requestContext": {
                    "httpMethod": self.method, "path": format!("/prod{}", self.path), "stage": "prod",
                    "accountId": "1", "apiId": "a", "identity": {"sourceIp": "203.0.113.7"}, "requestId": "r",
                    "resourceId": "x", "resourcePath": "/{proxy+}", "domainName": "api.example.org",
                },
                "body": body, "isBase64Encoded": encoded,
            }),
            Gateway::LoadBalancer => json!({
                "requestContext": {"elb": {"targetGroupArn": "arn"}}, "httpMethod": self.method, "path": self.path,
                "queryStringParameters": single(&raw), "headers": single(&headers),
                "body": body.as_str().unwrap_or_default(), "isBase64Encoded": encoded,
            }),
            Gateway::LoadBalancerMultiValue => json!({
                "requestContext": {"elb": {"targetGroupArn": "arn"}}, "httpMethod": self.method, "path": self.path,
                "multiValueQueryStringParameters": multi(&raw), "multiValueHeaders": multi(&headers),
                "body": body.as_str().unwrap_or_default(), "isBase64Encoded": encoded,
            }),
            _ => self.event_2(gateway, &single(&headers), &body, encoded),
        }
    }

    /// The same in the second version of an event's shape.
    fn event_2(&self, gateway: Gateway, headers: &Value, body: &Value, encoded: bool) -> Value {
        let (stage, path) = match gateway {
            Gateway::HttpApiWithStage => ("prod", format!("/prod{}", self.path)),
            // This one decodes it.
            Gateway::HttpApi => ("$default", decoded(&self.path, false)),
            _ => ("$default", self.path.clone()),
        };
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": self.query,
            "headers": headers,
            "requestContext": {
                "accountId": "1", "apiId": "a", "domainName": "api.example.org", "stage": stage,
                "http": {"method": self.method, "path": path, "protocol": "HTTP/1.1",
                         "sourceIp": "203.0.113.7", "userAgent": "test"},
                "requestId": "r", "routeKey": "$default", "timeEpoch": 1,
            },
            "body": body, "isBase64Encoded": encoded,
        })
    }

    /// Sends the request without a gateway.
    pub async fn over_a_socket(&self, address: &str) -> Heard {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let query = if self.query.is_empty() { "" } else { "?" };
        let mut head = format!(
            "{} {}{query}{} HTTP/1.1\r\nconnection: close\r\n",
            self.method, self.path, self.query
        );
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(b"\r\n").await.unwrap();
        socket.write_all(&self.body).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        Heard::new(
            status,
            headers.map(|(n, v)| (n.to_owned(), v.to_owned())),
            body,
        )
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

impl Heard {
    fn new(status: u64, headers: impl Iterator<Item = (String, String)>, body: &str) -> Self {
        let transport = ["connection", "content-length", "date", "transfer-encoding"];
        let mut headers: Vec<_> = headers
            .filter(|(name, _)| !transport.contains(&name.as_str()))
            .collect();
        headers.sort();
        Self {
            status,
            headers,
            body: body.to_owned(),
        }
    }

    /// What a gateway makes of a function's answer.
    pub fn through(gateway: Gateway, answer: &Value) -> Self {
        let multi = matches!(gateway, Gateway::RestApi | Gateway::LoadBalancerMultiValue);
        let headers = if multi {
            &answer["multiValueHeaders"]
        } else {
            &answer["headers"]
        };
        let headers = headers
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(name, value)| {
                let values = value
                    .as_array()
                    .cloned()
                    .unwrap_or_else(|| vec![value.clone()]);
                values
                    .into_iter()
                    .map(|value| (name.clone(), value.as_str().unwrap().to_owned()))
            });
        assert_eq!(answer["isBase64Encoded"], false, "{answer}");
        // `cargo lambda watch` answers 500 to a response of an HTTP API without this field.
        let has_cookies = answer["cookies"].is_array();
        let is_http_api = matches!(
            gateway,
            Gateway::HttpApi | Gateway::HttpApiWithStage | Gateway::FunctionUrl
        );
        assert_eq!(has_cookies, is_http_api, "{answer}");
        let status = answer["statusCode"].as_u64().unwrap();
        Self::new(status, headers, answer["body"].as_str().unwrap_or_default())
    }
}

/// Unescapes; `+` is a space in a query.
fn decoded(text: &str, plus: bool) -> String {
    let (mut bytes, mut out) = (text.bytes(), Vec::new());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(out).unwrap()
}
