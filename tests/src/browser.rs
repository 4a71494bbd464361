//! A headless Chromium, spoken to by its own protocol (CDP) over a WebSocket.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// Its paths on Debian, Ubuntu and macOS.
const PROGRAMS: [&str; 4] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/// The browser's error if another page was loaded during an evaluation.
const PAGE_HAS_CHANGED: &str = "Inspected target navigated or closed";

/// No sandbox, as containers do not let root have one; and nothing that it would look up by itself.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
];

/// A browser with one page, ended when this is dropped.
#[derive(Debug)]
pub struct Browser {
    page: WebSocketStream<MaybeTlsStream<TcpStream>>,
    calls: u64,
    complaints: Vec<String>,
    process: Child,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser with an empty profile.
    ///
    /// # Panics
    /// If no such program is installed.
    pub async fn start() -> Self {
        let program = PROGRAMS
            .into_iter()
            .find(|program| Path::new(program).exists())
            .expect("Chromium: scripts/setup");
        let profile = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(program);
        command
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = command.spawn().expect("Chromium starts");
        let mut lines = BufReader::new(process.stderr.take().expect("its log"))
            .lines()
            .map_while(Result::ok);
        let address = lines
            .find_map(|line| Some(line.split_once("DevTools listening on ws://")?.1.to_owned()))
            .expect("Chromium listens");
        std::thread::spawn(move || lines.for_each(drop));
        let host = address.split('/').next().unwrap_or_default();
        let (page, _) = connect_async(page_url(host).await).await.expect("the page");
        let mut browser = Self {
            page,
            calls: 0,
            complaints: Vec::new(),
            process,
            _profile: profile,
        };
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            browser.call(domain, json!({})).await;
        }
        browser
    }

    /// Opens a URL, and waits until the page and its scripts are loaded.
    pub async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url})).await;
        self.until(&format!(
            "location.href === {url:?} && document.readyState === 'complete'"
        ))
        .await;
    }

    /// Evaluates JavaScript in the page, and waits for the promise if it is one.
    ///
    /// # Panics
    /// If it throws.
    pub async fn evaluate(&mut self, script: &str) -> Value {
        let value = self.try_evaluate(script).await;
        value.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Evaluates JavaScript. Returns the error of the browser if it refuses that.
    async fn try_evaluate(&mut self, script: &str) -> Result<Value, Value> {
        let parameters = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        let mut result = self.try_call("Runtime.evaluate", parameters).await?;
        assert!(
            result.get("exceptionDetails").is_none(),
            "{script}: {result}"
        );
        Ok(result["result"]["value"].take())
    }

    /// Waits until a JavaScript condition holds; the test's own time limit is the only one. The page
    /// may load again meanwhile.
    pub async fn until(&mut self, condition: &str) {
        let script = format!("Boolean({condition})");
        loop {
            match self.try_evaluate(&script).await {
                Ok(value) if value == true => return,
                Err(error) if error["message"] != PAGE_HAS_CHANGED => panic!("{script}: {error}"),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Waits until a part of the page shows a text.
    pub async fn until_shown(&mut self, selector: &str, text: &str) {
        self.until(&format!(
            "document.querySelector({selector:?})?.innerText.includes({text:?})"
        ))
        .await;
    }

    /// Types into a field, and presses Enter.
    pub async fn enter(&mut self, selector: &str, text: &str) {
        self.evaluate(&format!(
            "document.querySelector({selector:?}).focus(), null"
        ))
        .await;
        self.call("Input.insertText", json!({"text": text})).await;
        for kind in ["keyDown", "keyUp"] {
            let key = json!({"type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"});
            self.call("Input.dispatchKeyEvent", key).await;
        }
    }

    /// Asserts that the page has done nothing wrong so far: no exception, and nothing that its own
    /// policy forbids. Responses that are errors are allowed.
    ///
    /// # Panics
    /// If it has.
    pub fn assert_no_complaints(&self) {
        assert!(self.complaints.is_empty(), "{:?}", self.complaints);
    }

    /// Calls a method of the browser's protocol.
    ///
    /// # Panics
    /// If it fails.
    pub async fn call(&mut self, method: &str, parameters: Value) -> Value {
        let result = self.try_call(method, parameters).await;
        result.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Calls a method of the browser's protocol. Returns its error if it fails.
    async fn try_call(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.calls += 1;
        let call = json!({"id": self.calls, "method": method, "params": parameters});
        self.page
            .send(Message::text(call.to_string()))
            .await
            .expect("Chromium is running");
        loop {
            let received = self
                .page
                .next()
                .await
                .expect("Chromium is running")
                .expect("a message");
            let mut message: Value =
                serde_json::from_slice(&received.into_data()).unwrap_or_default();
            if message["id"] == self.calls {
                return match message.get_mut("error") {
                    Some(error) => Err(error.take()),
                    None => Ok(message["result"].take()),
                };
            }
            let is_error = message["method"] == "Runtime.exceptionThrown"
                || message
                    .pointer("/params/entry/level")
                    .is_some_and(|level| level == "error")
                    && message
                        .pointer("/params/entry/source")
                        .is_none_or(|source| source != "network");
            if is_error {
                self.complaints.push(message.to_string());
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address of the one page.
async fn page_url(host: &str) -> String {
    loop {
        let response = reqwest::get(format!("http://{host}/json/list"))
            .await
            .expect("Chromium responds");
        let targets: Vec<Value> = response.json().await.expect("its pages");
        if let Some(page) = targets.iter().find(|target| target["type"] == "page") {
            return page["webSocketDebuggerUrl"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
