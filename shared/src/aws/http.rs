//! Minimal HTTP client: one request per connection.

use std::error::Error;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::socket::{self, Stream};

/// The longest response body that is read. The largest secrets have 64 KiB.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// Sends a request on a new connection, and reads the whole response.
pub(super) async fn send(
    request: Request<Vec<u8>>,
) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
    exchange(connect(request.uri()).await?, request).await
}

/// Connects to the host of a URL, with TLS if its scheme is `https`.
pub(super) async fn connect(uri: &Uri) -> Result<Box<dyn Stream>, Box<dyn Error + Send + Sync>> {
    let host = uri.host().ok_or("the URL has no host")?;
    let is_encrypted = uri.scheme_str() == Some("https");
    let port = uri
        .port_u16()
        .unwrap_or(if is_encrypted { 443 } else { 80 });
    Ok(socket::connect(host, port, is_encrypted).await?)
}

/// Sends a request on a connection that is used for nothing else, and reads the whole response.
pub(super) async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Vec<u8>>,
) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
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
fn in_origin_form(
    mut request: Request<Vec<u8>>,
) -> Result<Request<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
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
