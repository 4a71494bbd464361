//! A certificate authority that only the tests trust.

use std::{fs, path::PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// A private authority, and a server certificate of it. The certificate is for the name
/// `localhost`, not for an address.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
}

impl Authority {
    /// Makes keys and certificates.
    ///
    /// # Panics
    /// If they cannot be made or stored.
    #[allow(clippy::new_without_default, reason = "it draws keys and writes files")]
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("an authority's parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params
            .distinguished_name
            .push(DnType::CommonName, "a test's authority");
        let authority = CertifiedIssuer::self_signed(params, key()).expect("an authority");

        let server =
            CertificateParams::new(["localhost".to_owned()]).expect("a server's parameters");
        let server_key = key();
        let certificate = server
            .signed_by(&server_key, &authority)
            .expect("a certificate");

        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, content) in [
            ("authority.pem", authority.pem()),
            ("server.pem", certificate.pem()),
            ("server.key", server_key.serialize_pem()),
        ] {
            fs::write(directory.path().join(name), content).expect("a file");
        }
        Self { directory }
    }

    /// The authority's own certificate: what clients have to trust, by `SSL_CERT_FILE` for
    /// instance.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("authority.pem")
    }

    /// The server's certificate.
    pub(crate) fn server_certificate(&self) -> PathBuf {
        self.directory.path().join("server.pem")
    }

    /// The server's private key.
    pub(crate) fn server_key(&self) -> PathBuf {
        self.directory.path().join("server.key")
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
