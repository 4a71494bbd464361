//! Activities of the players of the histories, in words that mean something to JSON, to Lua's
//! patterns, or to the formats in Redis.

use presence::model::{Activity, ActivityChange};

/// What is done with a player's activity; one that is set goes by its position among
/// [`ACTIVITIES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Keep,
    Remove,
    Set(usize),
}

/// Activities, each in two forms that are the same JSON value.
pub(super) const ACTIVITIES: [[&str; 2]; 5] = [
    [r#"{"joinable":true}"#, " { \"joinable\" :\ttrue } "],
    [
        r#"{"details":"Ranked, 2/4 😀\u2028","party":{"id":"steam|7.0@eu-_","size":2,"max":4},"joinable":true}"#,
        r#"{"joinable":true,"party":{"max":4,"id":"steam|7.0@eu-_","size":2},"details":"Ranked, 2\/4 \ud83d\ude00\u2028"}"#,
    ],
    [
        r#"{"details":"1795492717576 OFFLINE lost 7 {};c;cc 30000","custom":{"a":{},"b":[],"%d+":"^%w*$"}}"#,
        r#"{"custom":{"%d+":"^%w*$","b":[],"a":{}},"details":"1795492717576 OFFLINE lost 7 {}\u003bc\u003bcc 30000"}"#,
    ],
    [
        r#"{"details":"\"}]}\\\"state\":\"AWAY\",\"activity\":true}\u0000\n","custom":{"activity":{"connection_count":9}}}"#,
        r#"{"custom":{"activity":{"connection_count":9}},"details":"\u0022}]}\\\u0022state\":\"AWAY\",\"activity\":true}\u0000\u000a"}"#,
    ],
    [
        r#"{"custom":{"n":[9007199254740992,-1,1.5,null,false,[[]]],"\u003b":";"}}"#,
        r#"{"custom":{";":"\u003B","n":[9007199254740992, -1, 1.5, null, false, [[]]]}}"#,
    ],
];

impl Change {
    /// The change in the words of the service, which knows both forms for the same.
    pub(super) fn in_form(self, form: usize) -> ActivityChange {
        match self {
            Self::Keep => ActivityChange::Keep,
            Self::Remove => ActivityChange::Remove,
            Self::Set(position) => ActivityChange::Set(activity(position, form)),
        }
    }
}

/// An activity in one of its two forms.
pub(super) fn activity(position: usize, form: usize) -> Activity {
    serde_json::from_str(ACTIVITIES[position][form % 2]).unwrap()
}
