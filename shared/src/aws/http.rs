//! One HTTP request, one answer: all that asking for secrets takes.

use std::{error::Error, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// An answer is no longer: the largest secrets have 64 KiB.
const MAX_ANSWER: usize = 1024 * 1024;

/// A socket, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

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
    let socket = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    if !is_encrypted {
        return Ok(Box::new(socket));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())?;
    Ok(Box::new(TlsConnector::from(Arc::new(tls)).connect(name, socket).await?))
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
