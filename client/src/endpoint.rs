//! Address of the presence service, and the timeout of calls.

use std::{fmt, time::Duration};

use http::{HeaderValue, Uri, uri::Scheme};

#[cfg(feature = "sigv4")]
use crate::AwsSigner;

/// Where the presence service is, and how long to wait for it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub(crate) base: String,
    pub(crate) is_encrypted: bool,
    pub(crate) authorization: Option<HeaderValue>,
    #[cfg(feature = "sigv4")]
    pub(crate) signer: Option<AwsSigner>,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) max_connection_age: Duration,
}

/// Why an [`Endpoint`] cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEndpoint {
    /// Not the address of an HTTP service.
    #[error(
        "not the URL of a presence service; expected http://HOST[:PORT] or https://HOST[:PORT], optionally with the \
         path that comes before /presence, and without user name and query"
    )]
    Url,
    /// The token is empty, or has characters that an HTTP header cannot carry.
    #[error("not a token; expected one or more visible ASCII characters")]
    Token,
    /// Both a token and a signer: a token and a signature use the same header.
    #[error("a request has a token or a signature, not both")]
    TokenAndSigner,
    /// The AWS region of the API, which is part of a signature, is unknown.
    #[error(
        "the AWS region of the API is unknown: it is not in the host name, and no region is configured"
    )]
    Region,
    /// The root certificates of this machine, which an `https` address needs, cannot be read.
    #[error("cannot read the root certificates of this machine, which an https address needs")]
    RootCertificates(#[source] std::io::Error),
}

impl Endpoint {
    /// The service at `url`, such as `http://presence:8080`; or `https://api.example.com/prod` if
    /// the calls are at `https://api.example.com/prod/presence/…`.
    ///
    /// Certificates of an `https` address are checked against the machine's root certificates, or
    /// against those in the file that the environment variable `SSL_CERT_FILE` names.
    ///
    /// # Errors
    /// [`InvalidEndpoint::Url`].
    pub fn parse(url: &str) -> Result<Self, InvalidEndpoint> {
        let uri: Uri = url.parse().map_err(|_| InvalidEndpoint::Url)?;
        let scheme = uri
            .scheme()
            .filter(|scheme| **scheme == Scheme::HTTP || **scheme == Scheme::HTTPS);
        let authority = uri
            .authority()
            .filter(|authority| !authority.as_str().contains('@'));
        let (Some(scheme), Some(authority), None) = (scheme, authority, uri.query()) else {
            return Err(InvalidEndpoint::Url);
        };
        Ok(Self {
            base: format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/')),
            is_encrypted: *scheme == Scheme::HTTPS,
            authorization: None,
            #[cfg(feature = "sigv4")]
            signer: None,
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(6),
            max_connection_age: Duration::from_secs(120),
        })
    }

    /// Sends this bearer token with every call. A client that runs takes a new one by its
    /// `set_token`.
    ///
    /// # Errors
    /// [`InvalidEndpoint::Token`]; [`InvalidEndpoint::TokenAndSigner`].
    pub fn with_token(mut self, token: &str) -> Result<Self, InvalidEndpoint> {
        self.authorization = Some(self.bearer(token)?);
        Ok(self)
    }

    /// Signs every call (AWS SigV4, service `execute-api`), for an API of API Gateway with the
    /// authorization `AWS_IAM`. The region is the one in the host name, else the signer's.
    ///
    /// # Errors
    /// [`InvalidEndpoint::TokenAndSigner`]; [`InvalidEndpoint::Region`].
    #[cfg(feature = "sigv4")]
    pub fn with_signer(mut self, signer: AwsSigner) -> Result<Self, InvalidEndpoint> {
        if self.authorization.is_some() {
            return Err(InvalidEndpoint::TokenAndSigner);
        }
        self.signer = Some(signer.for_host(&self.host())?);
        Ok(self)
    }

    /// The host name of the service.
    #[cfg(feature = "sigv4")]
    pub(crate) fn host(&self) -> String {
        let uri: Uri = self.base.parse().unwrap_or_default(); // it was parsed before
        uri.host().unwrap_or_default().to_owned()
    }

    /// The `Authorization` header for a token, unless calls are signed.
    pub(crate) fn bearer(&self, token: &str) -> Result<HeaderValue, InvalidEndpoint> {
        #[cfg(feature = "sigv4")]
        if self.signer.is_some() {
            return Err(InvalidEndpoint::TokenAndSigner);
        }
        bearer(token)
    }

    /// How long a TCP connection may take to open (default 1 s), and a whole call, from the first
    /// byte to the last (default 6 s: a server that has too much to do responds within about 5 s).
    #[must_use]
    pub fn with_timeouts(mut self, connect: Duration, request: Duration) -> Self {
        self.connect_timeout = connect;
        self.request_timeout = request;
        self
    }

    /// The age at which a TCP connection is replaced at the latest (default 2 min), so that servers
    /// that were added behind a load balancer get calls, too. Connections are replaced at a random
    /// age from half of it.
    #[must_use]
    pub fn with_max_connection_age(mut self, age: Duration) -> Self {
        self.max_connection_age = age;
        self
    }
}

/// The `Authorization` header for a token.
fn bearer(token: &str) -> Result<HeaderValue, InvalidEndpoint> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(InvalidEndpoint::Token);
    }
    let mut value =
        HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| InvalidEndpoint::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The address, without the token.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_path_but_no_query() {
        assert_eq!(
            Endpoint::parse("http://presence:8080").unwrap().base,
            "http://presence:8080"
        );
        assert_eq!(
            Endpoint::parse("https://api.example.com/prod/")
                .unwrap()
                .base,
            "https://api.example.com/prod"
        );
        for url in [
            "",
            "presence:8080",
            "/presence",
            "ftp://presence",
            "http://presence/?a=b",
            "http://",
            "http://a:b@presence",
        ] {
            assert!(
                matches!(Endpoint::parse(url), Err(InvalidEndpoint::Url)),
                "{url:?}"
            );
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let endpoint = Endpoint::parse("http://presence")
            .unwrap()
            .with_token("hunter2")
            .unwrap();
        assert!(!format!("{endpoint:?}").contains("hunter2"));
    }

    #[test]
    fn a_token_is_visible_ascii() {
        for token in ["", "a b", "a\nb", "é"] {
            assert!(
                Endpoint::parse("http://presence")
                    .unwrap()
                    .with_token(token)
                    .is_err(),
                "{token:?}"
            );
        }
    }
}
