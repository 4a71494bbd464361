//! `presence` as a caller of API Gateway: calls signed with AWS credentials, and explanations of
//! refusals.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    process::Command,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use super::{Finished, command, finish};

const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    (
        "AWS_SECRET_ACCESS_KEY",
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    ),
    ("AWS_SESSION_TOKEN", "FwoGZXIvYXdzEXAMPLE"),
];

/// Refuses one call as an HTTP API of API Gateway does. Returns its URL, and a thread that returns
/// the head of the call.
fn gateway(status: &'static str, message: &'static str) -> (String, JoinHandle<String>) {
    proxy(status, "apigw-requestid: JKJaXmPLvHcESHA=", message)
}

/// Refuses one call with this header and message.
fn proxy(
    status: &'static str,
    header: &'static str,
    message: &'static str,
) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap())
            .lines()
            .map(Result::unwrap);
        let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        let body = format!(r#"{{"message":"{message}"}}"#);
        let length = body.len();
        let response = format!(
            "HTTP/1.1 {status}\r\n{header}\r\nconnection: close\r\ncontent-length: {length}"
        );
        write!(stream, "{response}\r\n\r\n{body}").unwrap();
        head.join("\n")
    });
    (url, served)
}

/// The metadata service of a virtual machine without a role. Returns its URL, and the first line of
/// each request to it.
fn metadata_service() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&requests);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap())
                .lines()
                .map_while(Result::ok);
            let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            let Some(request) = head.first() else {
                continue;
            };
            seen.lock().unwrap().push(request.clone());
            let response = if request.starts_with("PUT /latest/api/token ") {
                "200 OK\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\nconnection: close\r\ncontent-length: 5\r\n\r\ntoken"
            } else {
                "404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            };
            _ = write!(stream, "HTTP/1.1 {response}");
        }
    });
    (url, requests)
}

/// `presence` with credentials in its environment, and no others.
fn with_keys(url: &str, arguments: &[&str]) -> Command {
    let mut command = without_keys(url, arguments);
    command.envs(KEYS);
    command
}

fn without_keys(url: &str, arguments: &[&str]) -> Command {
    let mut command = command(url, arguments);
    command.envs([
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("HOME", "/nonexistent"),
    ]);
    command
}

#[test]
fn a_call_is_signed_with_the_credentials_of_the_environment() {
    for by_variable in [false, true] {
        let (url, served) = gateway("403 Forbidden", "Forbidden");
        let mut command = with_keys(
            &url,
            if by_variable {
                &["get", "alice"]
            } else {
                &["get", "alice", "--sigv4"]
            },
        );
        command
            .env("AWS_REGION", "eu-central-1")
            .env("PRESENCE_SIGV4", if by_variable { "true" } else { "" });
        let Finished { status, err, .. } = finish(&mut command);
        let head = served.join().unwrap();
        let scope = "/eu-central-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token";
        assert!(
            head.contains("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") && head.contains(scope),
            "{head}"
        );
        assert!(
            head.contains("x-amz-security-token: FwoGZXIvYXdzEXAMPLE"),
            "{head}"
        );
        assert_eq!(status, Some(3), "{err}");
        assert!(
            err.contains(r#"("Forbidden")"#) && err.contains("needs execute-api:Invoke"),
            "{err}"
        );
        assert!(
            !KEYS[1..].iter().any(|(_, secret)| err.contains(secret)),
            "{err}"
        );
    }
}

#[test]
fn a_refusal_of_an_unsigned_call_names_the_flag_that_signs() {
    let (url, served) = gateway("403 Forbidden", "Forbidden");
    let Finished { status, err, .. } = finish(&mut with_keys(&url, &["get", "alice"]));
    assert!(
        !served
            .join()
            .unwrap()
            .to_lowercase()
            .contains("authorization"),
        "calls are signed only with --sigv4"
    );
    assert_eq!(status, Some(3), "{err}");
    assert!(
        err.contains("requires a signed request") && err.contains("--sigv4"),
        "{err}"
    );
}

#[test]
fn a_refusal_by_a_proxy_that_is_not_api_gateway_is_not_explained_as_one() {
    for (status, message) in [
        ("403 Forbidden", "Forbidden"),
        ("401 Unauthorized", "Unauthorized"),
    ] {
        let (url, served) = proxy(status, "server: nginx", message);
        let Finished { status, err, .. } = finish(&mut with_keys(&url, &["get", "alice"]));
        served.join().unwrap();
        assert_eq!(status, Some(3), "{err}");
        assert!(
            err.contains(&format!("refused the call: {message}")) && err.contains("A proxy"),
            "{err}"
        );
        assert!(
            !err.contains("API Gateway") && !err.contains("sigv4"),
            "{err}"
        );
    }
}

#[test]
fn a_watch_of_players_is_signed_and_the_response_of_an_api_without_it_explained() {
    for (response, message, expected, hint) in [
        ("403 Forbidden", "Forbidden", 3, "needs execute-api:Invoke"),
        ("404 Not Found", "Not Found", 4, "Only a presence-server"),
    ] {
        let (url, served) = gateway(response, message);
        let mut command = with_keys(&url, &["watch", "alice", "--sigv4"]);
        let Finished { status, err, .. } = finish(command.env("AWS_REGION", "eu-central-1"));
        let head = served.join().unwrap();
        assert!(
            head.starts_with("GET /watch ")
                && head.contains("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"),
            "{head}"
        );
        assert_eq!(status, Some(expected), "{err}");
        assert!(err.contains(hint), "{err}");
    }
}

#[test]
fn a_context_that_was_saved_with_the_flag_signs_calls() {
    let home = tempfile::tempdir().unwrap();
    let (url, served) = gateway("403 Forbidden", "Forbidden");
    let in_home = |arguments: &[&str]| {
        let mut command = with_keys("", arguments);
        command
            .env("HOME", home.path())
            .env("AWS_REGION", "eu-central-1");
        command
    };
    let saved = finish(&mut in_home(&[
        "context", "save", "aws", "--url", &url, "--sigv4",
    ]));
    assert_eq!(saved.status, Some(0), "{saved:?}");
    let refused = finish(&mut in_home(&["get", "alice", "--context", "aws"]));
    assert!(
        served
            .join()
            .unwrap()
            .contains("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"),
        "{refused:?}"
    );
    assert_eq!(refused.status, Some(3), "{refused:?}");
}

#[test]
fn missing_credentials_or_a_missing_region_are_usage_errors() {
    let url = "http://127.0.0.1:1";
    let without =
        finish(without_keys(url, &["get", "alice", "--sigv4"]).env("AWS_REGION", "eu-central-1"));
    assert_eq!(without.status, Some(2), "{without:?}");
    assert!(
        without
            .err
            .starts_with("presence: there are no AWS credentials"),
        "{without:?}"
    );
    let nowhere = finish(&mut with_keys(url, &["get", "alice", "--sigv4"]));
    assert_eq!(nowhere.status, Some(2), "{nowhere:?}");
    assert!(nowhere.err.contains("AWS_REGION"), "{nowhere:?}");
    let both = finish(&mut with_keys(
        url,
        &["get", "alice", "--sigv4", "--token", "hunter2"],
    ));
    assert_eq!(both.status, Some(2), "{both:?}");
}

#[test]
fn the_region_in_a_host_name_is_looked_up_nowhere_else() {
    for (url, is_looked_up) in [
        (
            "https://a1b2c3.execute-api.eu-central-1.amazonaws.com",
            false,
        ),
        ("https://presence.example.com", true),
    ] {
        let (metadata_url, requests) = metadata_service();
        let mut command = without_keys(url, &["get", "alice", "--sigv4"]);
        command
            .env_remove("AWS_EC2_METADATA_DISABLED")
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata_url);
        let Finished { status, err, .. } = finish(&mut command);
        assert_eq!(
            status,
            Some(2),
            "without credentials nothing is sent: {err}"
        );
        let requests = requests.lock().unwrap();
        let asks_for = |part: &str| requests.iter().any(|request| request.contains(part));
        assert!(
            asks_for("/iam/security-credentials"),
            "it was asked for credentials: {requests:?}"
        );
        assert_eq!(
            asks_for("/placement/region"),
            is_looked_up,
            "{url}: {requests:?}"
        );
    }
}

#[test]
fn credentials_come_from_the_process_of_a_profile_but_not_from_a_session_of_aws_login() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config");
    let keys = directory.path().join("keys.json");
    let output = r#"{"Version":1,"AccessKeyId":"AKIDPROCESS","SecretAccessKey":"key","Expiration":"2099-01-01T00:00:00Z"}"#;
    let login = "[profile login]\nlogin_session = arn:aws:iam::123456789012:user/alice\n";
    let process = format!(
        "[profile process]\ncredential_process = cat {}\n",
        keys.display()
    );
    fs::write(&keys, output).unwrap();
    fs::write(&config, format!("{login}{process}")).unwrap();
    let with_profile = |url: &str, name: &str| {
        let mut command = without_keys(url, &["get", "alice", "--sigv4"]);
        command
            .env("AWS_CONFIG_FILE", &config)
            .env("AWS_PROFILE", name)
            .env("AWS_REGION", "eu-central-1");
        command.env("PATH", "/usr/bin:/bin");
        finish(&mut command)
    };
    let (url, served) = gateway("403 Forbidden", "Forbidden");
    let refused = with_profile(&url, "process");
    assert_eq!(refused.status, Some(3), "{refused:?}");
    assert!(
        served.join().unwrap().contains("Credential=AKIDPROCESS/"),
        "{refused:?}"
    );

    let session = with_profile("http://127.0.0.1:1", "login");
    assert_eq!(session.status, Some(2), "{session:?}");
    assert!(
        session
            .err
            .contains("For a session of `aws login`, docs/cli.md shows a profile"),
        "{session:?}"
    );
}
