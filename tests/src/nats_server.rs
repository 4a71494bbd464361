//! A throwaway NATS server with JetStream.

use std::{process::Command, time::Duration};

use async_nats::{
    Client, ConnectOptions,
    jetstream::{
        self,
        consumer::{AckPolicy, DeliverPolicy, pull},
        message::Message,
    },
};
use tempfile::TempDir;

use crate::{
    nats_account::Account,
    nats_stream,
    process::{Process, free_port, signal},
};

/// A NATS server of its own; its streams outlive its process, until this is dropped.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    port: u16,
    directory: TempDir,
    login: Login,
}

/// How clients log in.
#[derive(Debug, Clone)]
enum Login {
    None,
    /// The text of a credentials file.
    Credentials(String),
    Password {
        user: String,
        password: String,
    },
    Token(String),
}

impl NatsServer {
    /// Starts a server and waits until it responds.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let configuration = jetstream(&directory);
        Self::start_with(directory, &configuration, Login::None).await
    }

    /// Starts a server with further settings, in the words of its configuration file.
    pub async fn start_configured(settings: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let configuration = format!("{}\n{settings}", jetstream(&directory));
        Self::start_with(directory, &configuration, Login::None).await
    }

    /// Starts a server that accepts one user with a password.
    pub async fn start_with_password(user: &str, password: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let guard = format!("authorization {{ user: {user:?}, password: {password:?} }}");
        let configuration = format!("{}\n{guard}", jetstream(&directory));
        let login = Login::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        };
        Self::start_with(directory, &configuration, login).await
    }

    /// Starts a server that accepts clients with a token.
    pub async fn start_with_token(token: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let configuration = format!(
            "{}\nauthorization {{ token: {token:?} }}",
            jetstream(&directory)
        );
        Self::start_with(directory, &configuration, Login::Token(token.to_owned())).await
    }

    /// Starts a server that accepts only one user, with the generated
    /// [`credentials`](Self::credentials).
    pub async fn start_guarded() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let account = Account::new(directory.path());
        Self::start_with(
            directory,
            &account.configuration,
            Login::Credentials(account.credentials),
        )
        .await
    }

    async fn start_with(directory: TempDir, configuration: &str, login: Login) -> Self {
        std::fs::write(directory.path().join("nats.conf"), configuration).expect("a file");
        loop {
            let port = free_port();
            let mut process = Process::start(&mut command(port, &directory));
            if is_up(&mut process, port, &directory, &login).await {
                return Self {
                    process,
                    port,
                    directory,
                    login,
                };
            }
        }
    }

    /// What stands in the credentials file of the only user.
    ///
    /// # Panics
    /// If the server accepts any user.
    pub fn credentials(&self) -> &str {
        match &self.login {
            Login::Credentials(credentials) => credentials,
            other => panic!("a guarded server: {other:?}"),
        }
    }

    /// `nats://…` of this server.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The server's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A connection.
    pub async fn client(&self) -> Client {
        connect(self.port, &self.login)
            .await
            .expect("NATS responds")
    }

    /// Stops the server for a while, as a machine that hangs does.
    pub fn pause(&self) {
        signal(self.id(), "STOP");
    }

    /// Lets a stopped server continue.
    pub fn resume(&self) {
        signal(self.id(), "CONT");
    }

    /// Ends the server, as kill -9 does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the server again, with the streams that it had.
    pub async fn restart(&mut self) {
        self.kill();
        while {
            self.process = Process::start(&mut command(self.port, &self.directory));
            !is_up(&mut self.process, self.port, &self.directory, &self.login).await
        } {}
    }

    /// All messages of a stream so far; none if it is missing.
    ///
    /// # Panics
    /// If JetStream does not respond.
    pub async fn messages(&self, stream: &str) -> Vec<Message> {
        nats_stream::messages(self.client().await, stream).await
    }

    /// The number of messages that a stream has received so far; 0 if it is missing.
    pub async fn count(&self, stream: &str) -> u64 {
        let Ok(mut stream) = jetstream::new(self.client().await).get_stream(stream).await else {
            return 0;
        };
        stream
            .info()
            .await
            .map_or(0, |info| info.state.last_sequence)
    }

    /// The messages of a stream, as they come.
    pub async fn follow(&self, stream: &str) -> pull::Stream {
        self.follow_from(stream, DeliverPolicy::All).await
    }

    /// Like [`follow`](Self::follow), but only what is published from now on.
    pub async fn follow_new(&self, stream: &str) -> pull::Stream {
        self.follow_from(stream, DeliverPolicy::New).await
    }

    async fn follow_from(&self, stream: &str, deliver_policy: DeliverPolicy) -> pull::Stream {
        let stream = jetstream::new(self.client().await)
            .get_stream(stream)
            .await
            .expect("the stream");
        let config = pull::Config {
            ack_policy: AckPolicy::None,
            deliver_policy,
            ..pull::Config::default()
        };
        stream
            .create_consumer(config)
            .await
            .expect("a consumer")
            .messages()
            .await
            .expect("messages")
    }
}

fn command(port: u16, directory: &TempDir) -> Command {
    let mut command = Command::new("nats-server");
    command.args([
        "--addr",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--name",
        &name(directory),
        "--config",
    ]);
    command.arg(directory.path().join("nats.conf"));
    command
}

/// The server's own name. No other server has its directory.
fn name(directory: &TempDir) -> String {
    directory.path().display().to_string()
}

fn jetstream(directory: &TempDir) -> String {
    format!(
        "jetstream {{ store_dir: '{}' }}",
        directory.path().display()
    )
}

async fn connect(port: u16, login: &Login) -> Result<Client, async_nats::ConnectError> {
    let options = match login.clone() {
        Login::None => ConnectOptions::new(),
        Login::Credentials(text) => ConnectOptions::with_credentials(&text).expect("credentials"),
        Login::Password { user, password } => {
            ConnectOptions::with_user_and_password(user, password)
        }
        Login::Token(token) => ConnectOptions::with_token(token),
    };
    options.connect(format!("nats://127.0.0.1:{port}")).await
}

/// Waits until the process's own JetStream responds; `false` if it ended instead, because its port
/// was taken.
async fn is_up(process: &mut Process, port: u16, directory: &TempDir, login: &Login) -> bool {
    while !process.has_ended() {
        if let Ok(client) = connect(port, login).await
            && client.server_info().server_name == name(directory)
            && client.request("$JS.API.INFO", "".into()).await.is_ok()
        {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}
