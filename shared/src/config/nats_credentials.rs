//! Credentials for NATS.

use std::sync::Arc;

use super::Secret;

/// Credentials for NATS, of one of the three kinds that it supports.
#[derive(Clone)]
pub enum NatsCredentials {
    /// A JWT and its key, from a credentials file.
    Jwt {
        /// The user's claims, signed by the account.
        jwt: Secret,
        /// The key that signs the server's challenge.
        key: Arc<nkeys::KeyPair>,
    },
    /// A user and a password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
}

impl NatsCredentials {
    /// Parses a credentials file: two values between lines of dashes, the JWT first, then the seed
    /// of the key.
    ///
    /// The client has a parser of its own, but that links all of `regex`, an eighth of a function's
    /// binary.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_rule = |line: &str| line.starts_with("---") && line.ends_with("---");
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        let mut values = lines.windows(3).filter_map(|lines| match lines {
            [begin, value, end] if is_rule(begin) && !value.is_empty() && is_rule(end) => {
                Some(*value)
            }
            _ => None,
        });
        let jwt = values.next()?;
        let seed = values.next()?;
        Some(Self::Jwt {
            jwt: Secret::new(jwt),
            key: Arc::new(nkeys::KeyPair::from_seed(seed).ok()?),
        })
    }
}

impl std::fmt::Debug for NatsCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "-----BEGIN NATS USER JWT-----
eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.e30.c2lnbmF0dXJl
------END NATS USER JWT------

************************* IMPORTANT *************************
NKEY Seed printed below can be used to sign and prove identity.

-----BEGIN USER NKEY SEED-----
SUACH75SWCM5D2JMJM6EKLR2WDARVGZT4QC6LX3AGHSWOMVAKERABBBRWM
------END USER NKEY SEED------
";

    #[test]
    fn the_jwt_comes_first_and_then_the_seed() {
        let lines: Vec<_> = FILE
            .lines()
            .filter(|line| !line.starts_with("***") && !line.starts_with("NKEY"))
            .collect();
        let terse = lines.join("\n").replace("\n\n\n", "\n\n");
        for text in [
            FILE.to_owned(),
            FILE.replace('\n', "\r\n"),
            FILE.trim().to_owned(),
            terse,
        ] {
            let Some(NatsCredentials::Jwt { jwt, key }) = NatsCredentials::parse(&text) else {
                panic!("{text}")
            };
            assert_eq!(
                jwt.expose(),
                "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.e30.c2lnbmF0dXJl"
            );
            assert_eq!(
                key.seed().unwrap(),
                "SUACH75SWCM5D2JMJM6EKLR2WDARVGZT4QC6LX3AGHSWOMVAKERABBBRWM"
            );
        }
    }

    #[test]
    fn a_file_without_a_valid_seed_is_refused() {
        let (jwt, _) = FILE.split_once("-----BEGIN USER").unwrap();
        for text in ["", "SUACH75S", jwt, &FILE.replace("SUACH75S", "SUACH75X")] {
            assert!(NatsCredentials::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        assert_eq!(format!("{:?}", NatsCredentials::parse(FILE).unwrap()), "…");
    }
}
