//! Signed calls, against a receiver that computes each signature from the bytes that it received,
//! as AWS does.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_config::{ConfigLoader, Region};

use aws_credential_types::{
    Credentials,
    provider::{SharedCredentialsProvider, error::CredentialsError, future},
};
use axum::{
    Router,
    body::Bytes,
    extract::State as Shared,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use presence_client::{
    AwsSigner, CallError, ConnectionId, Endpoint, History, HttpNotifier, InvalidEndpoint,
    Notifier as _, PlayerId, PresenceClient, Reason, SignError, State, Watcher,
};
use ring::{digest, hmac};
use serde_json::json;
use tokio::sync::watch;

use crate::stand_in::serve;

const ID: &str = "AKIDEXAMPLE";
const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SESSION: &str = "FwoGZXIvYXdzEXAMPLE/token+=";

/// An id and a key.
type Keys = (&'static str, &'static str);

/// An API that accepts calls signed with its keys, and responds to each with an OFFLINE player.
#[derive(Clone)]
struct Api {
    /// At first [`ID`] and [`KEY`].
    keys: Arc<Mutex<Keys>>,
    /// Method and path of the calls with a correct signature.
    calls: watch::Sender<Vec<String>>,
    /// Whether the next of these calls gets a 503.
    fail_next: Arc<AtomicBool>,
}

impl Api {
    async fn start() -> (Self, String) {
        let keys = Arc::new(Mutex::new((ID, KEY)));
        let api = Self {
            keys,
            calls: watch::Sender::default(),
            fail_next: Arc::default(),
        };
        let routes = Router::new().fallback(respond).with_state(api.clone());
        (api, serve(routes).await)
    }

    /// Accepts only calls signed with these keys from now on.
    fn replace_keys(&self, keys: Keys) {
        *self.keys.lock().unwrap() = keys;
    }

    fn calls(&self) -> Vec<String> {
        self.calls.borrow().clone()
    }

    /// Waits for a call with this method and path.
    async fn until(&self, call: &str) {
        let mut calls = self.calls.subscribe();
        let arrived = calls.wait_for(|calls| calls.iter().any(|each| each == call));
        let in_time = tokio::time::timeout(Duration::from_secs(20), arrived).await;
        assert!(in_time.is_ok(), "{call} did not arrive: {:?}", self.calls());
    }
}

async fn respond(
    Shared(api): Shared<Api>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let keys = *api.keys.lock().unwrap();
    if !is_signed(keys, &method, &uri, &headers, &body) {
        let headers = [("apigw-requestid", "JKJaXmPLvHcESHA=")];
        return (StatusCode::FORBIDDEN, headers, r#"{"message":"Forbidden"}"#).into_response();
    }
    api.calls
        .send_modify(|calls| calls.push(format!("{method} {uri}")));
    if api.fail_next.swap(false, Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let presence = json!({
        "player_id": "alice", "state": "OFFLINE", "last_seen": null, "connection_count": 0, "version": null,
        "accepted": 1, "restored": [], "closed": [], "failed": [],
    });
    (
        [(header::CONTENT_TYPE, "application/json")],
        presence.to_string(),
    )
        .into_response()
}

/// Whether the signature of the request is correct:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
fn is_signed(
    (id, secret): Keys,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> bool {
    let get_text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let authorization = get_text("authorization");
    let find_part = |name: &str| {
        let (_, rest) = authorization.split_once(&format!("{name}="))?;
        rest.split(',').next()
    };
    let (Some(credential), Some(signed), Some(signature)) = (
        find_part("Credential"),
        find_part("SignedHeaders"),
        find_part("Signature"),
    ) else {
        return false;
    };
    let moment = get_text("x-amz-date");
    let Some(scope) = credential.strip_prefix(&format!("{id}/")) else {
        return false;
    };
    assert_eq!(
        scope,
        format!("{}/eu-central-1/execute-api/aws4_request", &moment[..8])
    );
    assert!(signed.split(';').any(|name| name == "host"), "{signed}");
    let path = encoded(uri.path());
    let query = uri.query().unwrap_or_default(); // at most one pair, so it needs no sorting
    let lines: String = signed
        .split(';')
        .map(|name| format!("{name}:{}\n", get_text(name)))
        .collect();
    let canonical = format!(
        "{method}\n{path}\n{query}\n{lines}\n{signed}\n{}",
        hash(body)
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}",
        hash(canonical.as_bytes())
    );
    let key = scope
        .split('/')
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| {
            mac(&key, part)
        });
    signature == hex(&mac(&key, &to_sign))
}

/// The path of a request, encoded once more, as for all services but S3.
fn encoded(path: &str) -> String {
    let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes()
        .map(|byte| {
            if is_kept(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
        .as_ref()
        .to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn signer(key: &str, session: Option<&str>) -> AwsSigner {
    let keys = Credentials::new(ID, key, session.map(str::to_owned), None, "test");
    AwsSigner::new("eu-central-1", SharedCredentialsProvider::new(keys))
}

fn client(url: &str, signer: AwsSigner) -> PresenceClient {
    PresenceClient::new(Endpoint::parse(url).unwrap().with_signer(signer).unwrap()).unwrap()
}

/// Checks the receiver itself, with a signature of AWS's Python library, botocore.
#[test]
fn the_receiver_accepts_a_signature_of_another_library_for_these_bytes_only() {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={ID}/20260102/eu-central-1/execute-api/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, \
         Signature=3386d1dd91a8d9ccb9a9f8e12d461821283ae17c62882e5565ab1fe6d200d0a8"
    );
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "a1b2c3.execute-api.eu-central-1.amazonaws.com"),
        ("content-type", "application/json"),
        ("x-amz-date", "20260102T030405Z"),
        ("authorization", &authorization),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    let uri = Uri::from_static("/presence/state");
    assert!(is_signed(
        (ID, KEY),
        &Method::POST,
        &uri,
        &headers,
        br#"{"player_id":"alice","state":"IN_MATCH"}"#
    ));
    assert!(!is_signed(
        (ID, KEY),
        &Method::POST,
        &uri,
        &headers,
        br#"{"player_id":"mallory","state":"IN_MATCH"}"#
    ));
}

#[tokio::test]
async fn every_call_of_a_client_is_signed() {
    let (api, url) = Api::start().await;
    for (prefix, session) in [("", None), ("/prod", Some(SESSION))] {
        let client = client(&format!("{url}{prefix}"), signer(KEY, session));
        let odd = PlayerId::parse("steam|1:a@b-._C").unwrap();
        client.get(&odd, History::Include).await.unwrap();
        client.get(&odd, History::Omit).await.unwrap();
        client.set_state(&odd, State::InMatch).await.unwrap();
    }
    let odd = "/presence/steam%7C1:a@b-._C";
    let list_calls = |prefix: &str| {
        [
            format!("GET {prefix}{odd}?history=true"),
            format!("GET {prefix}{odd}"),
            format!("POST {prefix}/presence/state"),
        ]
    };
    assert_eq!(api.calls(), [list_calls(""), list_calls("/prod")].concat());
}

#[tokio::test]
async fn the_calls_of_a_gateway_are_signed() {
    let (api, url) = Api::start().await;
    let endpoint = Endpoint::parse(&url)
        .unwrap()
        .with_signer(signer(KEY, Some(SESSION)))
        .unwrap();
    let notifier = HttpNotifier::builder(endpoint).start().unwrap();
    let player = PlayerId::parse("alice").unwrap();
    let connection = ConnectionId::parse("c1").unwrap();
    notifier.connected(&player, &connection);
    api.until("POST /presence/connect").await;
    api.until("POST /presence/gateway").await;
    notifier.disconnected(&player, &connection, Reason::Quit);
    assert!(matches!(
        notifier.set_token("hunter2"),
        Err(InvalidEndpoint::TokenAndSigner)
    ));
    notifier
        .drain(Reason::Lost, Duration::from_secs(20))
        .await
        .unwrap();
    api.until("POST /presence/disconnect").await;
}

#[tokio::test]
async fn the_handshake_of_a_watcher_is_signed() {
    let (api, url) = Api::start().await;
    let endpoint = Endpoint::parse(&url)
        .unwrap()
        .with_signer(signer(KEY, Some(SESSION)))
        .unwrap();
    let watcher = Watcher::start(endpoint).unwrap();
    let _friends = watcher.watch(&[PlayerId::parse("alice").unwrap()]);
    api.until("GET /watch").await;
    assert!(matches!(
        watcher.set_token("hunter2"),
        Err(InvalidEndpoint::TokenAndSigner)
    ));
}

#[tokio::test]
async fn a_repeated_call_is_signed_again() {
    let (api, url) = Api::start().await;
    api.fail_next.store(true, Ordering::Relaxed);
    client(&url, signer(KEY, None))
        .get(&PlayerId::parse("alice").unwrap(), History::Omit)
        .await
        .unwrap();
    assert_eq!(api.calls(), ["GET /presence/alice"; 2]);
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_the_refusal_explained() {
    let (api, url) = Api::start().await;
    let wrong = client(&url, signer("another key", None));
    let Err(CallError::Problem(problem)) = wrong
        .set_state(&PlayerId::parse("alice").unwrap(), State::Away)
        .await
    else {
        panic!("a wrong key was accepted")
    };
    assert_eq!(
        (problem.status, problem.message.as_deref()),
        (403, Some("Forbidden"))
    );
    assert!(problem.detail.contains("SigV4"), "{}", problem.detail);
    assert_eq!(api.calls(), [""; 0]);
}

fn write_keys(path: &Path, (id, secret): Keys) {
    let profile =
        format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    fs::write(path, profile).unwrap();
}

/// Configures a loader to read this file of credentials, and no variables.
#[expect(
    deprecated,
    reason = "the types without a deprecation are those of another crate"
)]
fn with_file(loader: ConfigLoader, credentials: &Path) -> ConfigLoader {
    use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};

    let files = ProfileFiles::builder()
        .with_file(ProfileFileKind::Credentials, credentials)
        .build();
    loader
        .empty_test_environment()
        .region(Region::from_static("eu-central-1"))
        .profile_files(files)
}

#[tokio::test]
async fn keys_that_are_replaced_in_a_file_are_used_without_a_restart() {
    const NEW: Keys = ("AKIDNEW", "kXc1lMZ8bFp1TtRzq2D7EXAMPLENEWKEY");
    let (api, url) = Api::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("credentials");
    write_keys(&path, (ID, KEY));
    let unsigned = Endpoint::parse(&url).unwrap();
    let signer = {
        let path = path.clone();
        AwsSigner::load_with(&unsigned, move |loader| with_file(loader, &path))
            .await
            .unwrap()
    };
    let endpoint = unsigned.with_signer(signer.clone()).unwrap();
    let notifier = HttpNotifier::builder(endpoint)
        .without_gateway_lease()
        .start()
        .unwrap();
    let client = client(&url, signer);
    let player = PlayerId::parse("alice").unwrap();
    let connection = ConnectionId::parse("c1").unwrap();
    client.get(&player, History::Omit).await.unwrap();

    write_keys(&path, NEW);
    client.get(&player, History::Omit).await.unwrap(); // both keys are valid during a rotation
    api.replace_keys(NEW);
    let refused = client.get(&player, History::Omit).await.unwrap_err();
    assert!(
        matches!(&refused, CallError::Problem(problem) if problem.status == 403),
        "{refused:?}"
    );
    client.get(&player, History::Omit).await.unwrap();
    notifier.connected(&player, &connection);
    api.until("POST /presence/connect").await;
}

/// A provider without credentials.
#[derive(Debug)]
struct Empty;

impl aws_credential_types::provider::ProvideCredentials for Empty {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("logged out")))
    }
}

#[tokio::test]
async fn without_credentials_nothing_is_sent_and_the_error_says_why() {
    let (api, url) = Api::start().await;
    let client = client(
        &url,
        AwsSigner::new("eu-central-1", SharedCredentialsProvider::new(Empty)),
    );
    let error = client
        .get(&PlayerId::parse("alice").unwrap(), History::Omit)
        .await
        .unwrap_err();
    let CallError::NotSigned(cause) = &error else {
        panic!("{error:?}")
    };
    assert!(
        matches!(cause.downcast_ref(), Some(SignError::Credentials(_))),
        "{cause:?}"
    );
    assert!(
        error.is_transient(),
        "the provider may have credentials later"
    );
    assert_eq!(api.calls(), [""; 0]);
}

#[test]
fn an_endpoint_has_a_token_or_a_signer() {
    let parse_endpoint =
        || Endpoint::parse("https://a1b2c3.execute-api.eu-central-1.amazonaws.com").unwrap();
    let token_first = parse_endpoint()
        .with_token("hunter2")
        .unwrap()
        .with_signer(signer(KEY, None));
    assert!(matches!(token_first, Err(InvalidEndpoint::TokenAndSigner)));
    let signer_first = parse_endpoint()
        .with_signer(signer(KEY, None))
        .unwrap()
        .with_token("hunter2");
    assert!(matches!(signer_first, Err(InvalidEndpoint::TokenAndSigner)));
}
