//! HTTP servers in the test's own process.

use axum::Router;

/// Serves routes on a free loopback port until the test ends. Returns the URL, without a path.
///
/// # Panics
/// If no port is free.
pub async fn serve(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("the port's number");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}")
}
