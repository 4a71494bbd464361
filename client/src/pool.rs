//! Keep-alive connections with a maximum age.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::{Endpoint, InvalidEndpoint};

/// Connections that were idle for this long are closed: before the usual load balancer does, after
/// 60 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Connections to one endpoint, replaced together before the oldest exceeds the maximum age.
///
/// A load balancer that spreads TCP connections would otherwise never send a call to servers that
/// were added later. Calls in flight end on the connection on which they began.
#[derive(Debug)]
pub(crate) struct Pool {
    connector: HttpsConnector<HttpConnector>,
    max_age: Duration,
    current: Mutex<Generation>,
}

#[derive(Debug)]
struct Generation {
    client: HttpClient,
    /// `None` if that is later than the clock can say.
    expires_at: Option<Instant>,
}

impl Pool {
    /// Prepares the connections; nothing is connected before the first call.
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self, InvalidEndpoint> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(endpoint.connect_timeout));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls(endpoint.is_encrypted)?);
        let connector = https.https_or_http().enable_http1().wrap_connector(tcp);
        let max_age = endpoint.max_connection_age;
        Ok(Self {
            current: Mutex::new(Generation::new(&connector, max_age)),
            connector,
            max_age,
        })
    }

    /// The client to make the next call with.
    pub(crate) fn client(&self) -> HttpClient {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current
            .expires_at
            .is_some_and(|expires_at| expires_at <= Instant::now())
        {
            *current = Generation::new(&self.connector, self.max_age);
        }
        current.client.clone()
    }
}

impl Generation {
    fn new(connector: &HttpsConnector<HttpConnector>, max_age: Duration) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector.clone());
        // Jitter, so that gateways that started together do not connect together.
        let age = max_age.mul_f64(0.5 + fastrand::f64() / 2.0);
        Self {
            client,
            expires_at: Instant::now().checked_add(age),
        }
    }
}

/// Root certificates are read only if they are needed: the smallest containers have none.
fn tls(is_encrypted: bool) -> Result<ClientConfig, InvalidEndpoint> {
    let versions = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| InvalidEndpoint::RootCertificates(std::io::Error::other(error)))?;
    let roots = if is_encrypted {
        versions
            .with_native_roots()
            .map_err(InvalidEndpoint::RootCertificates)?
    } else {
        versions.with_root_certificates(RootCertStore::empty())
    };
    Ok(roots.with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_of_connections_ends_between_half_of_the_maximum_age_and_all_of_it() {
        let pool = Pool::new(&Endpoint::parse("http://presence").unwrap()).unwrap();
        for _ in 0..100 {
            let before = Instant::now();
            let generation = Generation::new(&pool.connector, Duration::from_secs(120));
            let shortest = before + Duration::from_secs(60);
            let longest = Instant::now() + Duration::from_secs(120);
            assert!((shortest..=longest).contains(&generation.expires_at.unwrap()));
        }
    }
}
