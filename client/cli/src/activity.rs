//! Activities as arguments and in output.

use presence_client::Activity;

/// An activity that was typed, or its removal.
#[derive(Debug, Clone)]
pub(crate) struct ActivityArgument(pub(crate) Option<Activity>);

/// Reads an activity's JSON, or `null`.
pub(crate) fn parse(json: &str) -> Result<ActivityArgument, String> {
    let typed: serde_json::Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let activity: Option<Activity> =
        serde_json::from_value(typed.clone()).map_err(|error| error.to_string())?;
    // A mistyped member must be an error, not ignored.
    match serde_json::to_value(&activity) {
        Ok(read) if read == typed => Ok(ActivityArgument(activity)),
        _ => Err("an activity has details, party {id, size, max}, joinable and custom, and no other member".to_owned()),
    }
}

/// An activity in one line: `Ranked, 2/4, joinable`. What would control the terminal is escaped.
pub(crate) fn summary(activity: &Activity) -> String {
    let Activity {
        details,
        party,
        joinable,
        custom,
    } = activity;
    let parts = [
        details.clone(),
        party
            .as_ref()
            .map(|party| format!("{}/{}", party.size, party.max)),
        joinable.map(|joinable| if joinable { "joinable" } else { "not joinable" }.to_owned()),
        custom
            .as_ref()
            .and_then(|custom| serde_json::to_string(custom).ok()),
    ];
    printable(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// Escapes control characters, and characters that change the direction of text.
fn printable(text: &str) -> String {
    let needs_escape = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if needs_escape(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> String {
        summary(&parse(json).unwrap().0.unwrap())
    }

    #[test]
    fn an_activity_is_one_line() {
        let ranked = r#"{"details":"Ranked","party":{"id":"p7","size":2,"max":4},"joinable":true}"#;
        assert_eq!(shown(ranked), "Ranked, 2/4, joinable");
        assert_eq!(
            shown(r#"{"joinable":false,"custom":{"map":"q3"}}"#),
            r#"not joinable, {"map":"q3"}"#
        );
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(
            shown(r#"{"details":"a\u001b[2J\n😀\u202e\u009b"}"#),
            r"a\u{1b}[2J\n😀\u{202e}\u{9b}"
        );
    }

    #[test]
    fn a_mistyped_member_is_an_error_and_null_is_none() {
        for typed in [
            r#"{"detail":"Ranked"}"#,
            r#"{"party":{"id":"p","size":1,"max":2,"more":3}}"#,
            "{",
            "5",
            "[]",
        ] {
            assert!(parse(typed).is_err(), "{typed}");
        }
        assert!(parse("null").unwrap().0.is_none());
    }
}
