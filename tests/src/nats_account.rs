//! A NATS that knows its users by JWT, as a hosted one does: an operator vouches for accounts, an
//! account for users.
//! <https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt>

use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// The subjects that the service may publish to: its events, and the API calls that create and
/// follow the stream. Operators find it in `docs/operations.md`.
const PUBLISHED: [&str; 7] = [
    "events.presence",
    "$JS.API.INFO",
    "$JS.API.STREAM.CREATE.PRESENCE_EVENTS",
    "$JS.API.STREAM.INFO.PRESENCE_EVENTS",
    "$JS.API.CONSUMER.*.PRESENCE_EVENTS",
    "$JS.API.CONSUMER.*.PRESENCE_EVENTS.>",
    "$JS.API.CONSUMER.MSG.NEXT.PRESENCE_EVENTS.>",
];

/// The settings of a server, and the credentials of its users.
pub(crate) struct Account {
    /// The server's configuration.
    pub(crate) configuration: String,
    /// The text of the credentials file of a user who may do anything.
    pub(crate) credentials: String,
    /// The text of the credentials file of a user who may do what the service needs, and no more.
    pub(crate) service_credentials: String,
}

impl Account {
    /// An account that may use JetStream, with its users. JetStream wants a system account beside
    /// it.
    pub(crate) fn new(store: &Path) -> Self {
        let operator = KeyPair::new_operator();
        let system = KeyPair::new_account();
        let account = KeyPair::new_account();
        let none = json!({"subs": -1, "conn": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "leaf": -1});
        let mut stored = none.clone();
        for name in ["mem_storage", "disk_storage", "streams", "consumer"] {
            stored[name] = json!(-1);
        }
        let operator_jwt = jwt(
            &operator,
            &operator,
            json!({"type": "operator", "system_account": system.public_key()}),
        );
        let system_jwt = jwt(
            &operator,
            &system,
            json!({"type": "account", "limits": none}),
        );
        let account_jwt = jwt(
            &operator,
            &account,
            json!({"type": "account", "limits": stored}),
        );
        let all_rights = credentials(&account, json!({}), json!({}));
        let service_credentials = credentials(
            &account,
            json!({"allow": PUBLISHED}),
            json!({"allow": ["_INBOX.>"]}),
        );
        let [system, account] = [system, account].map(|key| key.public_key());
        let configuration = format!(
            "operator: {operator_jwt}\nsystem_account: {system}\nresolver: MEMORY\n\
             resolver_preload: {{ {system}: {system_jwt}, {account}: {account_jwt} }}\n\
             jetstream {{ store_dir: '{}' }}\n",
            store.display()
        );
        Self {
            configuration,
            credentials: all_rights,
            service_credentials,
        }
    }
}

/// A credentials file of a new user, who may publish to some subjects and subscribe to some.
fn credentials(account: &KeyPair, publish: Value, subscribe: Value) -> String {
    let user = KeyPair::new_user();
    let claims = json!({"type": "user", "pub": publish, "sub": subscribe, "subs": -1, "data": -1, "payload": -1});
    let seed = user.seed().expect("a pair of keys has a seed");
    format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n",
        jwt(account, &user, claims)
    )
}

/// What `issuer` says of `subject`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, mut claims: Value) -> String {
    claims["version"] = json!(2);
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "name": "presence",
        "iss": issuer.public_key(), "sub": subject.public_key(), "nats": claims,
    });
    let [header, claims] =
        [header, claims].map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()));
    let signed = format!("{header}.{claims}");
    let signature = issuer
        .sign(signed.as_bytes())
        .expect("a pair of keys signs");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn operators_find_the_rights_of_the_service_in_the_docs() {
        let page = include_str!("../../docs/operations.md");
        let row = page
            .lines()
            .find(|line| line.trim_start().starts_with("| publish |"))
            .unwrap();
        let quoted = row.split('`').skip(1).step_by(2);
        let documented: BTreeSet<_> = quoted.filter(|subject| subject.contains('.')).collect();
        // This right is for an explanation in the log only.
        let needed: BTreeSet<_> = PUBLISHED
            .into_iter()
            .chain(["$JS.API.STREAM.NAMES"])
            .collect();
        assert_eq!(documented, needed);
        assert!(page.contains("| subscribe | `_INBOX.>` |"));
    }
}
