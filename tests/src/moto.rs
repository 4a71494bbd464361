//! A throwaway AWS: moto's server, which keeps parameters and secrets as AWS does.

use std::{path::Path, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::process::{Process, free_port};

/// Where `scripts/setup moto` installs it.
const PROGRAM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../target/tools/moto/bin/moto_server"
);

/// A moto of its own.
#[derive(Debug)]
pub struct Moto {
    _process: Process,
    url: String,
}

impl Moto {
    /// Starts a moto and waits until it responds.
    ///
    /// # Panics
    /// If it is not installed.
    pub async fn start() -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "moto is not installed: scripts/setup moto"
        );
        loop {
            let port = free_port();
            let mut command = Command::new(PROGRAM);
            command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
            let mut process = Process::start(&mut command);
            let url = format!("http://127.0.0.1:{port}");
            while !process.has_ended() {
                if reqwest::get(format!("{url}/moto-api/data.json"))
                    .await
                    .is_ok()
                {
                    return Self {
                        _process: process,
                        url,
                    };
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Keeps an encrypted parameter.
    pub async fn put_parameter(&self, name: &str, value: &str) {
        self.call(
            "ssm",
            "AmazonSSM.PutParameter",
            json!({"Name": name, "Value": value, "Type": "SecureString"}),
        )
        .await;
    }

    /// Keeps a secret.
    pub async fn put_secret(&self, name: &str, value: &str) {
        self.call(
            "secretsmanager",
            "secretsmanager.CreateSecret",
            json!({"Name": name, "SecretString": value}),
        )
        .await;
    }

    /// Makes a call. Moto does not check signatures; it only reads from them which service is
    /// meant.
    async fn call(&self, service: &str, target: &str, body: Value) {
        let scope =
            format!("AWS4-HMAC-SHA256 Credential=id/20260101/eu-central-1/{service}/aws4_request");
        let request = reqwest::Client::new()
            .post(&self.url)
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.1")
            .header(
                "authorization",
                format!("{scope}, SignedHeaders=host, Signature=0"),
            )
            .body(body.to_string());
        let response = request.send().await.expect("moto responds");
        assert!(
            response.status().is_success(),
            "{target}: {:?}",
            response.text().await
        );
    }
}
