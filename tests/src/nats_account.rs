//! A NATS that knows its users by JWT, as a hosted one does: an operator vouches for accounts, an account for users.
//! <https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt>

use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// What a server has to be told, and what a user has to know.
pub(crate) struct Account {
    /// The server's configuration.
    pub(crate) configuration: String,
    /// The text of a user's credentials file.
    pub(crate) credentials: String,
}

impl Account {
    /// An account that may use JetStream, with one user. JetStream wants a system account beside it.
    pub(crate) fn new(store: &Path) -> Self {
        let (operator, system, account, user) =
            (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
        let none = json!({"subs": -1, "conn": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "leaf": -1});
        let mut stored = none.clone();
        for name in ["mem_storage", "disk_storage", "streams", "consumer"] {
            stored[name] = json!(-1);
        }
        let operator_jwt =
            jwt(&operator, &operator, json!({"type": "operator", "system_account": system.public_key()}));
        let system_jwt = jwt(&operator, &system, json!({"type": "account", "limits": none}));
        let account_jwt = jwt(&operator, &account, json!({"type": "account", "limits": stored}));
        let user_jwt = jwt(&account, &user, json!({"type": "user", "subs": -1, "data": -1, "payload": -1}));
        let [system, account] = [system, account].map(|key| key.public_key());
        let configuration = format!(
            "operator: {operator_jwt}\nsystem_account: {system}\nresolver: MEMORY\n\
             resolver_preload: {{ {system}: {system_jwt}, {account}: {account_jwt} }}\n\
             jetstream {{ store_dir: '{}' }}\n",
            store.display()
        );
        let seed = user.seed().expect("a pair of keys has a seed");
        let credentials = format!(
            "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        Self { configuration, credentials }
    }
}

/// What `issuer` says of `subject`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, mut claims: Value) -> String {
    claims["version"] = json!(2);
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "name": "presence",
        "iss": issuer.public_key(), "sub": subject.public_key(), "nats": claims,
    });
    let [header, claims] = [header, claims].map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()));
    let signed = format!("{header}.{claims}");
    let signature = issuer.sign(signed.as_bytes()).expect("a pair of keys signs");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}
