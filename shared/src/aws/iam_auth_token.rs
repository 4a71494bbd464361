//! IAM tokens for ElastiCache: presigned connect requests, whose URL serves as the password.
//! <https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html>

use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{SignatureLocation, SigningSettings};

use super::signer::{RequestSigner, SignError};

/// How long a token is valid: the longest time that ElastiCache accepts.
pub(crate) const VALIDITY: Duration = Duration::from_mins(15);

/// Signs tokens for one user of one cache.
#[derive(Debug, Clone)]
pub struct IamAuthToken {
    signer: RequestSigner,
    user: String,
    cache: Cache,
}

/// A cache, by its name in ElastiCache.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cache {
    name: String,
    is_serverless: bool,
}

impl IamAuthToken {
    /// Creates a signer for `user` of the cache at `host`. `name` overrides the cache name that the
    /// host implies.
    pub fn new(signer: RequestSigner, user: String, host: &str, name: Option<String>) -> Self {
        let mut cache = Cache::at(host);
        if let Some(name) = name {
            cache.name = name;
        }
        Self {
            signer,
            user,
            cache,
        }
    }

    /// The user's name.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// Signs a new token locally. The only network call is the one the credentials provider may
    /// make.
    ///
    /// # Errors
    /// [`SignError`].
    pub(crate) async fn sign(&self, at: SystemTime) -> Result<String, SignError> {
        let Cache {
            name,
            is_serverless,
        } = &self.cache;
        let kind = if *is_serverless {
            "&ResourceType=ServerlessCache"
        } else {
            ""
        };
        let uri = format!("http://{name}/?Action=connect&User={}{kind}", self.user);
        let mut request = http::Request::get(uri)
            .body(Vec::new())
            .map_err(SignError::signing)?;
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(VALIDITY);
        self.signer
            .sign(&mut request, "elasticache", settings, at)
            .await?;
        let url = request.uri().to_string();
        // ElastiCache expects the URL without its scheme.
        Ok(url.trim_start_matches("http://").to_owned())
    }
}

impl Cache {
    /// Derives the cache from an endpoint's host name: `master.NAME.id.use1.cache.amazonaws.com`,
    /// `clustercfg.NAME.…`, `NAME.id.ng.0001.…`, `NAME-id.serverless.…`.
    fn at(host: &str) -> Self {
        let mut labels = host.split('.');
        let first = labels.next().unwrap_or_default();
        let second = labels.next().unwrap_or_default();
        let (name, is_serverless) = match (first, second) {
            ("master" | "replica" | "clustercfg", name) => (name, false),
            (name, "serverless") => (name.rsplit_once('-').map_or(name, |(name, _)| name), true),
            (name, _) => (name, false),
        };
        Self {
            name: name.to_ascii_lowercase(),
            is_serverless,
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};

    use super::*;

    fn signer(session: Option<&str>) -> RequestSigner {
        let keys = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            session.map(str::to_owned),
            None,
            "test",
        );
        RequestSigner::new("eu-central-1", SharedCredentialsProvider::new(keys))
    }

    /// The expected tokens were computed with botocore, which orders the last two parameters
    /// differently.
    #[tokio::test]
    async fn a_token_equals_the_one_that_awss_own_library_computes() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045); // 2026-01-02T03:04:05Z
        let scope = "X-Amz-Algorithm=AWS4-HMAC-SHA256\
            &X-Amz-Credential=AKIDEXAMPLE%2F20260102%2Feu-central-1%2Felasticache%2Faws4_request\
            &X-Amz-Date=20260102T030405Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host";
        let session = "&X-Amz-Security-Token=FwoGZXIvYXdzEXAMPLE%2Ftoken%2B%3D";
        let user = "presence/?Action=connect&User=presence";
        let serverless = "&ResourceType=ServerlessCache";
        for (host, token, expected) in [
            (
                "master.presence.x1y2z3.euc1.cache.amazonaws.com",
                None,
                format!(
                    "{user}&{scope}&X-Amz-Signature=7fc3f2d836bf4d9bb435ce604f039a8c73608eb5cbf7a2382cec689a811c9c6f"
                ),
            ),
            (
                "presence-x1y2z3.serverless.euc1.cache.amazonaws.com",
                Some("FwoGZXIvYXdzEXAMPLE/token+="),
                format!(
                    "{user}{serverless}&{scope}\
                     &X-Amz-Signature=afa006866fffcad7fb69475c7b09308d938ebfc418c2c2870c7ef15186f1b7a4{session}"
                ),
            ),
        ] {
            let signer = signer(token);
            let token = IamAuthToken::new(signer, "presence".to_owned(), host, None)
                .sign(at)
                .await
                .unwrap();
            assert_eq!(token, expected);
        }
    }

    #[test]
    fn the_host_implies_the_name_of_the_cache() {
        for (host, name, is_serverless) in [
            (
                "master.presence.x1y2z3.euc1.cache.amazonaws.com",
                "presence",
                false,
            ),
            (
                "replica.presence.x1y2z3.euc1.cache.amazonaws.com",
                "presence",
                false,
            ),
            (
                "clustercfg.presence-prod.x1y2z3.euc1.cache.amazonaws.com",
                "presence-prod",
                false,
            ),
            (
                "presence.x1y2z3.ng.0001.euc1.cache.amazonaws.com",
                "presence",
                false,
            ),
            (
                "presence-prod-x1y2z3.serverless.euc1.cache.amazonaws.com",
                "presence-prod",
                true,
            ),
            ("127.0.0.1", "127", false),
        ] {
            assert_eq!(
                Cache::at(host),
                Cache {
                    name: name.to_owned(),
                    is_serverless
                },
                "{host}"
            );
        }
    }
}
