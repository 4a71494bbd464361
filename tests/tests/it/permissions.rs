//! The rights that operators give to the service in Redis (`deploy/redis`) are those that it uses.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use presence_tests::{RedisServer, SecuredRedis, Server};
use serde_json::json;

/// What the service may do in Redis, and in Sentinels.
const USERS: &str = include_str!("../../../deploy/redis/users.acl");
const SENTINEL_USERS: &str = include_str!("../../../deploy/redis/sentinel-users.acl");

/// A connection to a database other than 0 begins with this command, which the redis crate sends.
const BY_CRATE: &str = "SELECT";

/// Each user may execute this command, whatever its rights.
const ALWAYS_ALLOWED: &str = "AUTH";

/// The commands in a user's rights. Those that are limited to a subcommand are
/// `COMMAND|SUBCOMMAND`.
fn allowed(users: &str) -> BTreeSet<String> {
    users
        .split_whitespace()
        .filter_map(|rule| rule.strip_prefix('+'))
        .map(str::to_uppercase)
        .collect()
}

/// The source files of a folder and of its folders, without those of tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| {
        if path.is_dir() {
            sources(&path)
        } else {
            vec![path]
        }
    });
    let is_source = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "lua" || extension == "rs")
    };
    files
        .filter(|path| is_source(path) && !path.ends_with("tests.rs"))
        .collect()
}

/// The quoted words in capital letters in the scripts and in the crate that sends commands. Hyphens
/// may be part of them.
fn quoted_words() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut words = BTreeSet::new();
    for file in ["lua", "shared/src"]
        .iter()
        .flat_map(|folder| sources(&root.join(folder)))
    {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let quoted = code.split(['\'', '"']);
        let is_name = |word: &&str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'-')
        };
        words.extend(quoted.filter(is_name).map(str::to_owned));
    }
    words
}

#[tokio::test]
async fn a_redis_user_may_execute_the_commands_of_the_service_and_no_others() {
    let redis = RedisServer::start().await;
    let names: Vec<String> = redis.ask(&["COMMAND", "LIST"]).await;
    let commands: BTreeSet<_> = names.iter().map(|name| name.to_uppercase()).collect();
    let words = quoted_words();
    let mut used: BTreeSet<_> = words.intersection(&commands).cloned().collect();
    used.insert(BY_CRATE.to_owned());
    assert!(used.remove(ALWAYS_ALLOWED));

    let allowed = allowed(USERS);
    let mut named = BTreeSet::new();
    for rule in &allowed {
        let (command, subcommand) = rule.split_once('|').unwrap_or((rule, ""));
        assert!(
            subcommand.is_empty() || words.contains(subcommand),
            "the code does not use {rule}"
        );
        named.insert(command.to_owned());
    }
    assert_eq!(
        used, named,
        "the commands in the code, and those in deploy/redis/users.acl"
    );
}

#[test]
fn a_user_of_sentinels_may_execute_the_only_command_that_they_are_sent() {
    assert_eq!(
        allowed(SENTINEL_USERS),
        BTreeSet::from(["SENTINEL|GET-MASTER-ADDR-BY-NAME".to_owned()])
    );
    let words = quoted_words();
    assert!(words.contains("SENTINEL") && words.contains("GET-MASTER-ADDR-BY-NAME"));
}

#[tokio::test]
async fn a_user_with_these_rights_may_use_a_database_other_than_the_first() {
    let redis = SecuredRedis::start().await;
    let url = format!("{}/3", redis.url());
    let certificate = redis.authority().certificate().display().to_string();
    let server = Server::start(&[
        ("PRESENCE_REDIS_URL", &*url),
        ("SSL_CERT_FILE", &*certificate),
    ]);
    let response = server
        .post(
            "/presence/connect",
            json!({"player_id": "alice", "connection_id": "c1"}),
        )
        .await;
    assert_eq!(response.status, 200, "{:?}", response.body);
    assert!(redis.ask(&["INFO", "keyspace"]).contains("db3:"));
}
