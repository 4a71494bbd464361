//! One HTTP request, one answer: all that asking for secrets takes.

use std::error::Error;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::socket::{self, Stream};

/// An answer is no longer: the largest secrets have 64 KiB.
const MAX_ANSWER: usize = 1024 * 1024;

/// Sends a request, on a connection of its own, and takes the whole answer.
pub(super) async fn send(request: Request<Vec<u8>>) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
    let stream = connect(request.uri()).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(in_origin_form(request)?).await?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, body))
}

async fn connect(uri: &Uri) -> Result<Box<dyn Stream>, Box<dyn Error + Send + Sync>> {
    let host = uri.host().ok_or("there is no host in the URL")?;
    let is_encrypted = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
    Ok(socket::connect(host, port, is_encrypted).await?)
}

/// As it goes over the wire: the host in a header, the path in the first line.
fn in_origin_form(mut request: Request<Vec<u8>>) -> Result<Request<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
    let host = request.uri().authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(host)?;
    request.headers_mut().insert(header::HOST, host);
    let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    *request.uri_mut() = path.into();
    Ok(request.map(|body| Full::new(body.into())))
}
