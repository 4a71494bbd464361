use serde_json::{Value, json};

use super::*;

fn parse(json: &str) -> Result<Activity, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

fn custom(json: &str) -> String {
    format!(r#"{{"custom":{json}}}"#)
}

#[test]
fn an_activity_has_at_least_one_member_and_no_other() {
    for json in [
        r#"{"details":"Ranked"}"#,
        r#"{"joinable":false}"#,
        r#"{"custom":{}}"#,
        r#"{"party":{"id":"steam:1@eu|x","max":1000,"size":1000}}"#,
        r#"{"custom":{"mode":"ctf"},"details":"Ranked","joinable":true,"party":{"id":"p","max":4,"size":2}}"#,
    ] {
        assert_eq!(parse(json).unwrap().as_json(), json);
    }
    for json in [
        "{}",
        "[]",
        "5",
        r#"["Ranked"]"#,
        r#"{"details":null}"#,
        r#"{"details":""}"#,
        r#"{"details":5}"#,
        r#"{"joinable":null}"#,
        r#"{"joinable":"true"}"#,
        r#"{"custom":null}"#,
        r#"{"custom":[]}"#,
        r#"{"party":null}"#,
        r#"{"party":["p",4,2]}"#,
        r#"{"party":{"id":"p","max":4}}"#,
        r#"{"party":{"id":"p","size":4}}"#,
        r#"{"party":{"max":4,"size":2}}"#,
        r#"{"party":{"id":"p","max":4,"size":2,"more":1}}"#,
        r#"{"party":{"id":"a b","max":4,"size":2}}"#,
        r#"{"party":{"id":"p","max":4,"size":0}}"#,
        r#"{"party":{"id":"p","max":4,"size":5}}"#,
        r#"{"party":{"id":"p","max":1001,"size":5}}"#,
        r#"{"party":{"id":"p","max":4,"size":-1}}"#,
        r#"{"party":{"id":"p","max":4,"size":2.0}}"#,
        r#"{"details":"a","more":1}"#,
        r#"{"details":"a","details":"a"}"#,
    ] {
        assert!(parse(json).is_err(), "{json}");
    }
}

#[test]
fn details_are_counted_in_code_points() {
    for (character, count, is_valid) in [
        ("a", 128, true),
        ("😀", 128, true),
        ("😀", 129, false),
        ("e\u{301}", 64, true),
    ] {
        let details = json!({"details": character.repeat(count)}).to_string();
        assert_eq!(parse(&details).is_ok(), is_valid, "{count} of {character}");
    }
    assert!(
        parse(&json!({"details": "e\u{301}".repeat(65)}).to_string()).is_err(),
        "130 code points"
    );
}

#[test]
fn the_limit_counts_compact_utf8() {
    let with_text = |text: &str| format!("{{ \"custom\" : {{ \"t\" : \"{text}\" }} }}");
    let frame = r#"{"custom":{"t":""}}"#.len();
    let longest = "x".repeat(MAX_LENGTH - frame);
    assert_eq!(
        parse(&with_text(&longest)).unwrap().as_json().len(),
        MAX_LENGTH
    );
    assert!(parse(&with_text(&format!("{longest}x"))).is_err());
    // An escape counts as the character that it stands for, and a character as its bytes.
    let escaped = r"\u00e9".repeat((MAX_LENGTH - frame) / 2);
    assert!(parse(&with_text(&escaped)).is_ok());
    assert!(parse(&with_text(&format!("{escaped}{escaped}"))).is_err());
}

#[test]
fn custom_comes_back_unchanged() {
    for json in [
        r#"{"a":[],"b":{},"c":[[],{},[{}]],"d":null,"e":"","f":false}"#,
        r#"{"n":[0,-1,9007199254740992,-9007199254740992,18446744073709551615,1.5,0.1,1e300,5e-324,2.638344616030823e-256]}"#,
        r#"{";":"a;b","b":";;\\","c":"\\u003b"}"#,
        r#"{"":"\"\\/\b\f\n\r\t\u0000\u001f","\"":"😀\u2028\ud83d\ude00"}"#,
    ] {
        let expected: Value = serde_json::from_str(json).unwrap();
        let activity = parse(&custom(json)).unwrap();
        let stored: Value = serde_json::from_str(activity.as_json()).unwrap();
        assert_eq!(stored["custom"], expected, "{json}");
        assert!(!activity.as_json().contains('\n'));
        assert_eq!(Activity::from_stored(&activity.stored()), Some(activity));
    }
}

#[test]
fn the_same_json_value_is_the_same_activity() {
    let one = parse(r#"{"custom":{"a":[1,{"x":1,"y":2}],"b":"\u0041"},"joinable":true}"#);
    let other =
        parse(r#" { "joinable" : true , "custom" : { "b":"A", "a" : [ 1, {"y":2,"x":1} ] } } "#);
    assert_eq!(one, other);
    assert_ne!(
        one,
        parse(r#"{"custom":{"a":[{"x":1,"y":2},1],"b":"A"},"joinable":true}"#)
    );
}

#[test]
fn a_repeated_key_or_half_a_character_is_refused_at_any_depth() {
    for json in [
        r#"{"a":1,"a":1}"#,
        r#"{"b":[{"a":1,"a":2}]}"#,
        r#"{"a":1,"\u0061":1}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"\udc00":1}"#,
        r#"{"a":1e400}"#,
        r#"{"a":NaN}"#,
        r#"{"a":}"#,
    ] {
        assert!(parse(&custom(json)).is_err(), "{json}");
    }
}

#[test]
fn nesting_is_bounded() {
    let build_nested = |levels: usize| {
        custom(&format!(
            r#"{{"a":{}{}}}"#,
            "[".repeat(levels),
            "]".repeat(levels)
        ))
    };
    assert!(parse(&build_nested(MAX_DEPTH - 2)).is_ok());
    for levels in [MAX_DEPTH - 1, 200, 500] {
        assert!(parse(&build_nested(levels)).is_err(), "{levels}");
    }
    let deepest = parse(&build_nested(MAX_DEPTH - 2)).unwrap();
    let response = format!(r#"{{"presences":[{{"activity":{}}}]}}"#, deepest.as_json());
    assert!(
        serde_json::from_str::<Value>(&response).is_ok(),
        "callers can read it"
    );
}

#[test]
fn what_redis_holds_is_not_trusted() {
    for stored in ["", "5", "[]", "{", "{}x", r#""text""#] {
        assert_eq!(Activity::from_stored(stored), None, "{stored}");
    }
    let long = custom(&format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_LENGTH)));
    assert_eq!(Activity::from_stored(&long), None);
}

#[test]
fn its_debug_form_does_not_say_what_the_player_does() {
    let activity = parse(r#"{"details":"secret"}"#).unwrap();
    assert_eq!(format!("{activity:?}"), "Activity(20 bytes)");
}

#[test]
fn no_semicolon_is_stored() {
    for json in [
        r#"{";":"a;b","c":[";"]}"#,
        r#"{"a":"\\;\\\\;\"; "}"#,
        r#"{"a":"\\u003b;"}"#,
    ] {
        let activity = parse(&custom(json)).unwrap();
        assert!(!activity.stored().contains(';'), "{}", activity.stored());
        assert_eq!(
            Activity::from_stored(&activity.stored()),
            Some(activity),
            "{json}"
        );
    }
    let longest = parse(&custom(&format!(
        r#"{{"a":"{}"}}"#,
        ";".repeat(MAX_LENGTH - 20)
    )))
    .unwrap();
    assert_eq!(Activity::from_stored(&longest.stored()), Some(longest));
}
