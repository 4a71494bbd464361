//! Credentials provider of short-lived IAM tokens.

use std::{
    pin::Pin,
    time::{Duration, SystemTime},
};

use futures_util::{Stream, stream};
use redis::{ErrorKind, RedisResult, auth::BasicAuth, auth::StreamingCredentialsProvider};

use crate::aws::IamAuthToken;

/// How often a connection authenticates with a new token: well before the old one expires after 15
/// minutes. ElastiCache closes a connection 12 hours after its last authentication.
const RENEWAL: Duration = Duration::from_mins(10);

/// Provides each connection with a new token when it opens, and with further ones as long as it
/// lives.
pub(super) struct Tokens(pub(super) IamAuthToken);

impl StreamingCredentialsProvider for Tokens {
    fn subscribe(&self) -> Pin<Box<dyn Stream<Item = RedisResult<BasicAuth>> + Send + 'static>> {
        let token = self.0.clone();
        Box::pin(stream::unfold(Duration::ZERO, move |wait| {
            let token = token.clone();
            async move {
                tokio::time::sleep(wait).await;
                Some((credentials(&token).await, RENEWAL))
            }
        }))
    }
}

async fn credentials(token: &IamAuthToken) -> RedisResult<BasicAuth> {
    match token.sign(SystemTime::now()).await {
        Ok(password) => Ok(BasicAuth::new(token.user().to_owned(), password)),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "no token for ElastiCache"
            );
            Err((ErrorKind::AuthenticationFailed, "no token for ElastiCache").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
    use futures_util::StreamExt as _;
    use tokio::time::Instant;

    use super::*;
    use crate::aws::RequestSigner;

    #[tokio::test(start_paused = true)]
    async fn a_connection_gets_a_token_at_once_and_the_next_one_before_that_expires() {
        let keys =
            SharedCredentialsProvider::new(Credentials::new("id", "key", None, None, "test"));
        let signer = RequestSigner::new("eu-central-1", keys);
        let tokens = Tokens(IamAuthToken::new(
            signer,
            "presence".to_owned(),
            "cache",
            None,
        ));
        let start = Instant::now();
        let mut stream = tokens.subscribe();
        for seconds in [0, 600, 1_200] {
            let credentials = stream.next().await.unwrap().unwrap();
            assert!(
                credentials
                    .password()
                    .starts_with("cache/?Action=connect&User=presence&X-Amz-Algorithm=")
            );
            assert_eq!(
                (credentials.username(), start.elapsed().as_secs()),
                ("presence", seconds)
            );
        }
    }
}
