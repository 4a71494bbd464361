//! `PRESENCE_REDIS_AUTH=iam`: ElastiCache tokens in place of a password.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    routing::{get, post, put},
};
use presence_tests::{Function, RedisServer, Server, event, serve};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The credentials that ECS and EKS give to a container.
const CREDENTIALS: &str = r#"{"AccessKeyId":"CONTAINER","SecretAccessKey":"key","Token":"t","Expiration":"2030-01-01T00:00:00Z"}"#;

/// A proxy to Redis that records the bytes of clients.
struct Tap {
    port: u16,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    async fn on(redis: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let redis_port = redis.port();
        let sent = Arc::<Mutex<Vec<u8>>>::default();
        let recorded = Arc::clone(&sent);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", redis_port)).await.unwrap();
                let recorded = Arc::clone(&recorded);
                tokio::spawn(forward(client, server, recorded));
            }
        });
        Self { port, sent }
    }

    /// The URL of Redis through the tap, for a user who signs in by tokens.
    fn url(&self) -> String {
        format!("redis://presence@127.0.0.1:{}", self.port)
    }

    /// Asserts that the first token was signed with the key of this id.
    fn assert_signed_by(&self, key_id: &str) {
        let token = &self.tokens()[0];
        let credential = format!("X-Amz-Credential={key_id}%2F");
        assert!(token.contains(&credential), "{token}");
    }

    /// The tokens that were sent so far.
    fn tokens(&self) -> Vec<String> {
        let sent = String::from_utf8_lossy(&self.sent.lock().unwrap()).into_owned();
        sent.split("\r\n")
            .filter(|text| text.contains("Action=connect"))
            .map(str::to_owned)
            .collect()
    }
}

/// Forwards bytes until either side closes its connection.
async fn forward(client: TcpStream, server: TcpStream, recorded: Arc<Mutex<Vec<u8>>>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let to_redis = async {
        let mut buffer = vec![0; 64 * 1_024];
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            recorded.lock().unwrap().extend(&buffer[..length]);
            to_server.write_all(&buffer[..length]).await.unwrap();
        }
    };
    tokio::select! {
        () = to_redis => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}

async fn redis(server: &RedisServer, command: &[&str]) -> redis::Value {
    let mut raw = server.connection().await;
    redis::cmd(command[0])
        .arg(&command[1..])
        .query_async(&mut raw)
        .await
        .unwrap()
}

/// A Redis with a user for tokens, and a tap to it. Only ElastiCache can check a token: here, Redis
/// checks the user name, and the tap records the token.
async fn tapped_redis() -> (RedisServer, Tap) {
    let server = RedisServer::start().await;
    redis(
        &server,
        &["ACL", "SETUSER", "presence", "on", "nopass", "~*", "+@all"],
    )
    .await;
    let tap = Tap::on(&server).await;
    (server, tap)
}

/// A file with a token.
fn token_file(token: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), token).unwrap();
    file
}

async fn connect(function: &Function) -> Value {
    let body = json!({"player_id": "alice", "connection_id": "c1"});
    function
        .invoke(event::post("/presence/connect", &body))
        .await
        .unwrap()
}

#[tokio::test]
async fn each_connection_sends_a_new_token() {
    let (server, tap) = tapped_redis().await;
    let url = tap.url();
    let variables = [
        ("PRESENCE_REDIS_URL", &*url),
        ("PRESENCE_REDIS_AUTH", "iam"),
        ("PRESENCE_REDIS_IAM_CACHE", "Game"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI"),
        ("AWS_SESSION_TOKEN", "FwoGZXIvYXdz"),
    ];
    let function = Function::start("connect", &variables).await;
    assert_eq!(connect(&function).await["statusCode"], 200);
    let first = tap.tokens()[0].clone();
    assert!(
        first.starts_with("game/?Action=connect&User=presence&X-Amz-Algorithm=AWS4-HMAC-SHA256"),
        "{first}"
    );
    for part in [
        "%2Feu-central-1%2Felasticache%2Faws4_request",
        "X-Amz-Expires=900",
        "X-Amz-Security-Token=FwoGZXIvYXdz",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }

    // A token contains the time in seconds: in the next second, a new token differs.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(since.as_secs() + 1) - since).await;
    let killed = redis(&server, &["CLIENT", "KILL", "USER", "presence"]).await;
    assert_eq!(
        killed,
        redis::Value::Int(1),
        "the function is connected as the user presence"
    );
    assert_eq!(connect(&function).await["statusCode"], 200);
    let last = tap.tokens().pop().unwrap();
    assert!(last.starts_with("game/?Action=connect") && last != first);
}

#[tokio::test]
async fn a_container_gets_its_credentials_from_its_host() {
    let (_server, tap) = tapped_redis().await;
    let respond = async |headers: HeaderMap| match headers.get("authorization") {
        Some(token) if token == "of-the-pod" => (StatusCode::OK, CREDENTIALS),
        _ => (StatusCode::FORBIDDEN, ""),
    };
    let router = Router::new().route("/v1/credentials", get(respond));
    let endpoint = format!("{}/v1/credentials", serve(router).await);
    let token = token_file("of-the-pod");

    let url = tap.url();
    let variables = [
        ("PRESENCE_REDIS_URL", &*url),
        ("PRESENCE_REDIS_AUTH", "iam"),
        ("PRESENCE_STORE_TIMEOUT", "5s"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &endpoint),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            token.path().to_str().unwrap(),
        ),
    ];
    assert_eq!(
        connect(&Function::start("connect", &variables).await).await["statusCode"],
        200
    );
    tap.assert_signed_by("CONTAINER");
}

/// The response of STS to the token of a Kubernetes service account.
const ASSUMED_ROLE: &str = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
    <AccessKeyId>SERVICEACCOUNT</AccessKeyId><SecretAccessKey>key</SecretAccessKey><SessionToken>t</SessionToken>\
    <Expiration>2036-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
    </AssumeRoleWithWebIdentityResponse>";

#[tokio::test]
async fn a_pod_gets_its_credentials_for_the_token_of_its_service_account() {
    let (server, tap) = tapped_redis().await;
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let received = Arc::clone(&requests);
    let respond = async move |form: String| {
        received.lock().unwrap().push(form);
        ASSUMED_ROLE
    };
    let endpoint = serve(Router::new().route("/", post(respond))).await;
    let token = token_file("of-the-service-account");

    let url = tap.url();
    let variables = [
        ("PRESENCE_REDIS_URL", &*url),
        ("PRESENCE_REDIS_AUTH", "iam"),
        ("PRESENCE_STORE_TIMEOUT", "5s"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/presence"),
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            token.path().to_str().unwrap(),
        ),
        ("AWS_ENDPOINT_URL_STS", &endpoint),
    ];
    let function = Function::start("connect", &variables).await;
    assert_eq!(connect(&function).await["statusCode"], 200);
    tap.assert_signed_by("SERVICEACCOUNT");
    redis(&server, &["CLIENT", "KILL", "USER", "presence"]).await;
    assert_eq!(connect(&function).await["statusCode"], 200);
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 1, "credentials are kept until they expire");
    assert!(
        requests[0].contains("of-the-service-account"),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_failure_of_sts_is_retried_and_logs_no_error() {
    let (_server, tap) = tapped_redis().await;
    let has_failed = Arc::<AtomicBool>::default();
    let failed = Arc::clone(&has_failed);
    let respond = async move || {
        if failed.swap(true, Ordering::Relaxed) {
            (StatusCode::OK, ASSUMED_ROLE)
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "")
        }
    };
    let endpoint = serve(Router::new().route("/", post(respond))).await;
    let token = token_file("of-the-service-account");

    let url = tap.url();
    let server = Server::start(&[
        ("PRESENCE_REDIS_URL", &url),
        ("PRESENCE_REDIS_AUTH", "iam"),
        ("PRESENCE_STORE_TIMEOUT", "10s"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/presence"),
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            token.path().to_str().unwrap(),
        ),
        ("AWS_ENDPOINT_URL_STS", &endpoint),
    ]);
    let body = json!({"player_id": "alice", "connection_id": "c1"});
    assert_eq!(server.post("/presence/connect", body).await.status, 200);
    assert!(has_failed.load(Ordering::Relaxed));
    tap.assert_signed_by("SERVICEACCOUNT");
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

/// The credentials that EC2 gives to an instance.
const INSTANCE_CREDENTIALS: &str = r#"{"Code":"Success","LastUpdated":"2026-01-01T00:00:00Z","Type":"AWS-HMAC","AccessKeyId":"INSTANCE","SecretAccessKey":"key","Token":"t","Expiration":"2036-01-01T00:00:00Z"}"#;

/// Responds as EC2's metadata service, version 2: with `text` if the request has the token.
fn metadata(headers: &HeaderMap, text: &'static str) -> (StatusCode, &'static str) {
    match headers.get("x-aws-ec2-metadata-token") {
        Some(token) if token == "of-the-instance" => (StatusCode::OK, text),
        _ => (StatusCode::UNAUTHORIZED, ""),
    }
}

/// Serves credentials as EC2's metadata service, version 2. Returns the URL.
async fn serve_metadata() -> String {
    const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    let get_token = async |headers: HeaderMap| {
        let ttl = headers.get(TTL).ok_or(StatusCode::BAD_REQUEST)?;
        Ok::<_, StatusCode>(([(TTL, ttl.clone())], "of-the-instance"))
    };
    let get_role = async |headers: HeaderMap| metadata(&headers, "presence-role");
    let get_credentials = async |headers: HeaderMap| metadata(&headers, INSTANCE_CREDENTIALS);
    let router = Router::new()
        .route("/latest/api/token", put(get_token))
        .route(ROLES, get(get_role))
        .route(&format!("{ROLES}presence-role"), get(get_credentials));
    serve(router).await
}

#[tokio::test]
async fn an_instance_gets_its_credentials_from_its_metadata_service() {
    let (_server, tap) = tapped_redis().await;
    let url = tap.url();
    let variables = [
        ("PRESENCE_REDIS_URL", &*url),
        ("PRESENCE_REDIS_AUTH", "iam"),
        ("PRESENCE_STORE_TIMEOUT", "5s"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &serve_metadata().await),
    ];
    assert_eq!(
        connect(&Function::start("connect", &variables).await).await["statusCode"],
        200
    );
    tap.assert_signed_by("INSTANCE");
}

#[tokio::test]
async fn a_metadata_service_that_never_responds_leaves_no_credentials() {
    let (_server, tap) = tapped_redis().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = tap.url();
    let server = Server::start(&[
        ("PRESENCE_REDIS_URL", &url),
        ("PRESENCE_REDIS_AUTH", "iam"),
        ("PRESENCE_STORE_TIMEOUT", "10s"),
        ("AWS_REGION", "eu-central-1"),
        (
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            &format!("http://{}", silent.local_addr().unwrap()),
        ),
    ]);
    let body = json!({"player_id": "alice", "connection_id": "c1"});
    let response = server.post("/presence/connect", body).await;
    assert_eq!(response.status, 503);
    let (_connection, _) = silent.accept().await.unwrap();
    assert!(
        !server.logged("no token for ElastiCache").is_empty(),
        "the lookup ends before the store's timeout: {}",
        server.log()
    );
}

#[tokio::test]
async fn without_credentials_the_store_is_unavailable() {
    let server = RedisServer::start().await;
    let url = format!("redis://presence@127.0.0.1:{}", server.port());
    let variables = [
        ("PRESENCE_REDIS_URL", &*url),
        ("PRESENCE_REDIS_AUTH", "iam"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    assert_eq!(
        connect(&Function::start("connect", &variables).await).await["statusCode"],
        503
    );
}
