//! Minimal HTTP client, for AWS and for the receiver of spans: one request per connection.

use std::{error::Error, io, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;

use crate::socket::{self, Stream};

/// The longest response body that is read. The largest secrets have 64 KiB.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Sends a request on a new connection, and reads the whole response.
pub(crate) async fn send(request: Request<impl Into<Bytes>>) -> Result<Response<Bytes>> {
    let tls = tls_for(request.uri())?;
    exchange(connect(request.uri(), tls).await?, request).await
}

/// The TLS configuration for a URL: that of this machine if the scheme is `https`, else `None`.
///
/// # Errors
/// If TLS is needed and this machine has no root certificates.
pub(crate) fn tls_for(uri: &Uri) -> io::Result<Option<Arc<ClientConfig>>> {
    match uri.scheme_str() {
        Some("https") => socket::tls().map(Some),
        _ => Ok(None),
    }
}

/// Connects to the host of a URL, with TLS if a configuration is given.
pub(crate) async fn connect(uri: &Uri, tls: Option<Arc<ClientConfig>>) -> Result<Box<dyn Stream>> {
    let host = uri.host().ok_or("the URL has no host")?;
    let default_port = if tls.is_some() { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(default_port);
    Ok(socket::connect_with(host, port, tls).await?)
}

/// Sends a request on a connection that is used for nothing else, and reads the whole response.
pub(crate) async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<impl Into<Bytes>>,
) -> Result<Response<Bytes>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The connection makes progress only while its own future is polled.
    let driver = tokio::spawn(connection);
    let response = sender.send_request(in_origin_form(request)?).await?;
    let (parts, body) = response.into_parts();
    let bytes = Limited::new(body, MAX_RESPONSE_BYTES)
        .collect()
        .await?
        .to_bytes();
    driver.abort();
    Ok(Response::from_parts(parts, bytes))
}

/// Converts a request to origin form: the host in a header, the path alone in the request line.
fn in_origin_form(mut request: Request<impl Into<Bytes>>) -> Result<Request<Full<Bytes>>> {
    let authority = request
        .uri()
        .authority()
        .map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(authority)?;
    request.headers_mut().insert(header::HOST, host);
    let path = request
        .uri()
        .path_and_query()
        .cloned()
        .unwrap_or(PathAndQuery::from_static("/"));
    *request.uri_mut() = path.into();
    Ok(request.map(|body| Full::new(body.into())))
}
