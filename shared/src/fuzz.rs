//! Fuzz targets: each parser of external input takes any bytes, and panics if a promise is broken.
//!
//! They are compiled for `make fuzz` (`tests/fuzz/`), with libFuzzer, and for unit tests, in which
//! proptest alters valid examples at random.

pub use crate::{
    config::fuzz::configuration,
    http::fuzz::{body, state_change},
    runtime::fuzz::lambda_event,
    store::fuzz::{id, reply},
    watch::fuzz::watch_request,
};

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    /// The examples that libFuzzer begins with as well.
    macro_rules! seed {
        ($file:literal) => {
            include_bytes!(concat!("../../tests/fuzz/seeds/", $file)).as_slice()
        };
    }

    /// One change of a text.
    #[derive(Debug, Clone)]
    enum Edit {
        Put(Index, u8),
        Insert(Index, Vec<u8>),
        Cut(Index, usize),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        let words = prop_oneof![
            "[ -~]{1,8}".prop_map(String::into_bytes),
            vec(any::<u8>(), 1..8),
            prop::sample::select(vec![
                "null", "\"\"", "[]", "{}", "-1", "1e999", "\\u0000", "%2e%2e", "\r\n", "\n"
            ])
            .prop_map(|word| word.as_bytes().to_vec()),
        ];
        prop_oneof![
            (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Put(at, byte)),
            (any::<Index>(), words).prop_map(|(at, word)| Edit::Insert(at, word)),
            (any::<Index>(), 1..20_usize).prop_map(|(at, length)| Edit::Cut(at, length)),
        ]
    }

    fn edited(seed: &[u8], edits: Vec<Edit>) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for edit in edits {
            let to_position = |at: Index| at.index(bytes.len() + 1);
            match edit {
                Edit::Put(at, byte) => match bytes.get_mut(at.index(seed.len().max(1))) {
                    Some(old) => *old = byte,
                    None => bytes.push(byte),
                },
                Edit::Insert(at, word) => {
                    drop(bytes.splice(to_position(at)..to_position(at), word))
                }
                Edit::Cut(at, length) => {
                    let start = to_position(at);
                    bytes.drain(start..bytes.len().min(start + length));
                }
            }
        }
        bytes
    }

    /// Passes altered examples and random bytes to a parser.
    fn look_into(seeds: &[&'static [u8]], parser: fn(&[u8])) {
        seeds.iter().for_each(|seed| parser(seed));
        let altered = (prop::sample::select(seeds.to_vec()), vec(edit(), 1..6));
        let inputs = prop_oneof![
            9 => altered.prop_map(|(seed, edits)| edited(seed, edits)),
            1 => vec(any::<u8>(), 0..200),
        ];
        let config = ProptestConfig {
            cases: 4_000,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        proptest!(config, |(bytes in inputs.prop_map(Bytes::from))| parser(&bytes)); // shown as text if it fails
    }

    #[test]
    fn any_body_is_accepted_or_refused_as_promised() {
        look_into(&[seed!("body/one"), seed!("body/batch")], body);
    }

    #[test]
    fn any_change_of_a_state_is_accepted_or_refused_as_promised() {
        look_into(&[seed!("state_change/both")], state_change);
    }

    #[test]
    fn any_watch_request_is_accepted_or_refused_as_promised() {
        look_into(
            &[seed!("watch_request/watch"), seed!("watch_request/unwatch")],
            watch_request,
        );
    }

    #[test]
    fn any_text_is_an_id_or_none() {
        look_into(&[seed!("id/plain"), seed!("id/marks")], id);
    }

    #[test]
    fn any_event_is_a_request_or_none() {
        let seeds = [
            include_bytes!("../../tests/fixtures/http-api.json").as_slice(),
            include_bytes!("../../tests/fixtures/rest-api.json"),
            include_bytes!("../../tests/fixtures/load-balancer.json"),
            include_bytes!("../../tests/fixtures/function-url.json"),
            include_bytes!("../../tests/fixtures/websocket.json"),
        ];
        look_into(&seeds, lambda_event);
    }

    #[test]
    fn any_reply_of_redis_is_understood_or_refused() {
        look_into(
            &[
                seed!("reply/script"),
                seed!("reply/values"),
                seed!("reply/slots"),
                seed!("reply/outbox"),
            ],
            reply,
        );
    }

    #[test]
    fn any_environment_is_a_configuration_or_an_error_of_one_line() {
        look_into(&[seed!("configuration/all")], configuration);
    }
}
