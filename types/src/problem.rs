//! Problems: the bodies of error responses (RFC 9457).

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};

/// What a problem's `type` begins with, before its slug.
const PREFIX: &str = "urn:presence:";

/// The `type` of a problem that does not have one.
const ABOUT_BLANK: &str = "about:blank";

/// The kind of a problem. It determines the problem's type, title and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// 400: the request cannot be understood. Nothing was applied.
    InvalidRequest,
    /// 401: a token is missing or wrong.
    Unauthorized,
    /// 403: the caller may not make this call.
    Forbidden,
    /// 404: the path has no route.
    NotFound,
    /// 405: the path does not take this method.
    MethodNotAllowed,
    /// 408: the request did not arrive, or had no response, in time.
    TimedOut,
    /// 409: the player is OFFLINE and cannot have this state or an activity.
    TransitionRejected,
    /// 409: a stream would watch too many players.
    TooMany,
    /// 410: the connection was closed before and stays closed.
    ConnectionClosed,
    /// 413: the body is too long.
    TooLarge,
    /// 415: the body is labeled as something other than plain JSON.
    UnsupportedMediaType,
    /// 426: the path speaks WebSocket, or server-sent events.
    UpgradeRequired,
    /// 431: the head of the request is too long.
    HeadersTooLarge,
    /// 500: a fault of the service itself.
    Internal,
    /// 503: too many calls at a time.
    Overloaded,
    /// 503: Redis could not be used. Whether the call took effect is unknown, unless the detail
    /// says so.
    StoreUnavailable,
}

/// The body of an error response.
///
/// Members of a wrong type are ignored, as RFC 9457 requires: another program may have sent them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProblemBody<'a> {
    /// The type, a URI. Empty if it was not sent.
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub kind: Cow<'a, str>,
    /// The title, which is the same for all problems of a kind.
    #[serde(deserialize_with = "lenient")]
    pub title: Cow<'a, str>,
    /// The HTTP status. 0 if it was not sent.
    #[serde(deserialize_with = "lenient")]
    pub status: u16,
    /// What was wrong, and what to do about it. Empty if it was not sent.
    #[serde(deserialize_with = "lenient")]
    pub detail: Cow<'a, str>,
    /// The part of the call that was wrong, such as `connections[3].player_id`.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub field: Option<Cow<'a, str>>,
}

impl ProblemKind {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.parts().0
    }

    /// The `type`: `urn:presence:` and the slug.
    pub fn uri(self) -> &'static str {
        self.parts().1
    }

    /// The title, for people.
    pub fn title(self) -> &'static str {
        self.parts().2
    }

    /// The short name, such as `transition-rejected`.
    pub fn slug(self) -> &'static str {
        slug(self.uri())
    }

    fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidRequest => (400, "urn:presence:invalid-request", "Invalid request"),
            Self::Unauthorized => (401, "urn:presence:unauthorized", "Unauthorized"),
            Self::Forbidden => (403, "urn:presence:forbidden", "Forbidden"),
            Self::NotFound => (404, "urn:presence:not-found", "Not found"),
            Self::MethodNotAllowed => {
                (405, "urn:presence:method-not-allowed", "Method not allowed")
            }
            Self::TimedOut => (408, "urn:presence:timed-out", "Timed out"),
            Self::TransitionRejected => (
                409,
                "urn:presence:transition-rejected",
                "Transition rejected",
            ),
            Self::TooMany => (409, "urn:presence:too-many", "Too many players"),
            Self::ConnectionClosed => (410, "urn:presence:connection-closed", "Connection closed"),
            Self::TooLarge => (413, "urn:presence:too-large", "Too large"),
            Self::UnsupportedMediaType => (
                415,
                "urn:presence:unsupported-media-type",
                "Unsupported media type",
            ),
            Self::UpgradeRequired => (426, "urn:presence:upgrade-required", "Upgrade required"),
            Self::HeadersTooLarge => (431, "urn:presence:headers-too-large", "Headers too large"),
            Self::Internal => (500, "urn:presence:internal", "Internal error"),
            Self::Overloaded => (503, "urn:presence:overloaded", "Overloaded"),
            Self::StoreUnavailable => (503, "urn:presence:store-unavailable", "Store unavailable"),
        }
    }
}

impl ProblemBody<'_> {
    /// The short name of the kind: that of a [`ProblemKind`], or one that only a newer service has.
    /// If the problem is not the presence service's, it is the type, which is `about:blank` if it
    /// was not sent.
    pub fn slug(&self) -> &str {
        if self.kind.is_empty() {
            ABOUT_BLANK
        } else {
            slug(&self.kind)
        }
    }
}

fn slug(uri: &str) -> &str {
    uri.strip_prefix(PREFIX).unwrap_or(uri)
}

/// Reads a member, or ignores it if it is of another type.
fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Member<T> {
        Valid(T),
        Other(IgnoredAny),
    }

    Ok(match Member::deserialize(deserializer)? {
        Member::Valid(value) => value,
        Member::Other(IgnoredAny) => T::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_read_as_it_is_written() {
        let json = concat!(
            r#"{"type":"urn:presence:invalid-request","title":"Invalid request","status":400,"#,
            r#""detail":"no","field":"watch[1]"}"#,
        );
        let kind = ProblemKind::InvalidRequest;
        let body = ProblemBody {
            kind: kind.uri().into(),
            title: kind.title().into(),
            status: kind.status(),
            detail: "no".into(),
            field: Some("watch[1]".into()),
        };
        assert_eq!(serde_json::to_string(&body).unwrap(), json);
        assert_eq!(serde_json::from_str::<ProblemBody<'_>>(json).unwrap(), body);
        assert_eq!(body.slug(), kind.slug());
        assert_eq!(
            serde_json::to_string(&ProblemBody {
                field: None,
                ..body
            })
            .unwrap(),
            json.replace(r#","field":"watch[1]""#, "")
        );
    }

    #[test]
    fn what_another_program_says_is_read_as_far_as_it_goes() {
        let read = |json| serde_json::from_str::<ProblemBody<'_>>(json).unwrap();
        let body = read(
            r#"{"type":7,"status":"error","detail":"no such route","field":null,"more":{"a":[1]}}"#,
        );
        assert_eq!(
            body,
            ProblemBody {
                detail: "no such route".into(),
                ..ProblemBody::default()
            }
        );
        assert_eq!(body.slug(), "about:blank");
        assert_eq!(
            read(r#"{"type":"https://example.com/quota"}"#).slug(),
            "https://example.com/quota"
        );
        assert_eq!(
            read(r#"{"type":"urn:presence:of-a-newer-service"}"#).slug(),
            "of-a-newer-service"
        );
        assert!(serde_json::from_str::<ProblemBody<'_>>("<html>").is_err());
    }
}
