//! Activity of a player, as the game describes it.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;

use super::{
    PlayerId, State,
    json::{JsonObject, Object, present},
};

/// The longest activity, in bytes of compact JSON.
const MAX_LENGTH: usize = 1024;

/// The longest `details`, in Unicode code points.
const MAX_DETAILS: usize = 128;

/// The largest party.
const MAX_PARTY: u16 = 1_000;

/// The deepest nesting of an activity's arrays and objects, itself included. Common JSON parsers
/// accept 128 levels, and responses and events wrap an activity into some more.
const MAX_DEPTH: usize = 100;

/// The escape for a semicolon inside a JSON string.
const ESCAPED_SEMICOLON: &str = r"\u003b";

/// The activity of a player: an object with at least one of `details`, `party`, `joinable` and
/// `custom`.
///
/// It is kept as compact JSON with sorted keys, so two activities are equal if they are the same
/// JSON value.
#[derive(Clone)]
pub struct Activity(Arc<RawValue>);

/// A change of a player's activity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ActivityChange {
    /// Leaves the activity as it is.
    #[default]
    Keep,
    /// Removes the activity.
    Remove,
    /// Replaces the activity as a whole.
    Set(Activity),
}

/// A change of a player: the state, the activity, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The new state. `None` leaves it as it is.
    pub state: Option<State>,
    /// The change of the activity.
    pub activity: ActivityChange,
}

/// Error of an object that is not an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum InvalidActivity {
    #[error("an activity has at least one of details, party, joinable and custom")]
    Empty,
    #[error("details has 1 to {MAX_DETAILS} characters")]
    Details,
    #[error("a party's size and max are from 1 to {MAX_PARTY}")]
    PartySize,
    #[error("a party's size is at most its max")]
    Overfull,
    #[error("an activity has at most {MAX_LENGTH} bytes as compact JSON")]
    TooLong,
    #[error("an activity's arrays and objects are nested at most {MAX_DEPTH} levels deep")]
    TooDeep,
}

/// An activity's members, in the order in which they are written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Members {
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    custom: Option<JsonObject>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    details: Option<Details>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    joinable: Option<bool>,
    #[serde(
        default,
        deserialize_with = "party",
        skip_serializing_if = "Option::is_none"
    )]
    party: Option<Party>,
}

#[derive(Deserialize, Serialize)]
#[serde(try_from = "String")]
struct Details(String);

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Party {
    id: PlayerId,
    max: PartySize,
    size: PartySize,
}

#[derive(Deserialize, Serialize, Clone, Copy, PartialEq, PartialOrd)]
#[serde(try_from = "u64")]
struct PartySize(u16);

impl Activity {
    /// Parses an activity from Redis or from an event. `None` if it is not an object of at most 1
    /// KiB.
    pub(crate) fn from_stored(json: &str) -> Option<Self> {
        let raw = if json.contains(ESCAPED_SEMICOLON) {
            // Parsing and writing it again removes the escapes.
            let object: JsonObject = serde_json::from_str(json).ok()?;
            serde_json::value::to_raw_value(&object).ok()?
        } else {
            serde_json::from_str::<Box<RawValue>>(json).ok()?
        };
        let is_activity = raw.get().starts_with('{') && raw.get().len() <= MAX_LENGTH;
        is_activity.then(|| Self(raw.into()))
    }

    /// The JSON as stored in Redis, in a line whose parts are separated by semicolons. Those of the
    /// JSON are escaped: they occur in strings only.
    pub(crate) fn stored(&self) -> Cow<'_, str> {
        match self.as_json().contains(';') {
            true => self.as_json().replace(';', ESCAPED_SEMICOLON).into(),
            false => self.as_json().into(),
        }
    }

    /// The activity as compact JSON with sorted keys.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Activity {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for Activity {}

/// Omits the content: players' activities do not belong in logs.
impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Activity({} bytes)", self.as_json().len())
    }
}

impl Serialize for Activity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Activity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object(members) = Object::<Members>::deserialize(deserializer)?;
        Self::try_from(members).map_err(D::Error::custom)
    }
}

impl TryFrom<Members> for Activity {
    type Error = InvalidActivity;

    fn try_from(members: Members) -> Result<Self, InvalidActivity> {
        let Members {
            custom,
            details,
            joinable,
            party,
        } = &members;
        if custom.is_none() && details.is_none() && joinable.is_none() && party.is_none() {
            return Err(InvalidActivity::Empty);
        }
        if custom
            .as_ref()
            .is_some_and(|custom| 1 + custom.depth() > MAX_DEPTH)
        {
            return Err(InvalidActivity::TooDeep);
        }
        let json =
            serde_json::value::to_raw_value(&members).map_err(|_| InvalidActivity::TooDeep)?;
        if json.get().len() > MAX_LENGTH {
            return Err(InvalidActivity::TooLong);
        }
        Ok(Self(json.into()))
    }
}

impl TryFrom<String> for Details {
    type Error = InvalidActivity;

    fn try_from(text: String) -> Result<Self, InvalidActivity> {
        let is_valid = (1..=MAX_DETAILS).contains(&text.chars().count());
        if is_valid {
            Ok(Self(text))
        } else {
            Err(InvalidActivity::Details)
        }
    }
}

impl TryFrom<u64> for PartySize {
    type Error = InvalidActivity;

    fn try_from(number: u64) -> Result<Self, InvalidActivity> {
        let size = u16::try_from(number)
            .ok()
            .filter(|size| (1..=MAX_PARTY).contains(size));
        size.map(Self).ok_or(InvalidActivity::PartySize)
    }
}

fn party<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Party>, D::Error> {
    let Object(party) = Object::<Party>::deserialize(deserializer)?;
    if party.size > party.max {
        return Err(D::Error::custom(InvalidActivity::Overfull));
    }
    Ok(Some(party))
}

/// Reads `null` as a removal. A missing member keeps the activity, which is the default.
impl<'de> Deserialize<'de> for ActivityChange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Remove, Self::Set))
    }
}

impl From<State> for StateChange {
    fn from(state: State) -> Self {
        Self {
            state: Some(state),
            activity: ActivityChange::Keep,
        }
    }
}

impl From<Activity> for StateChange {
    fn from(activity: Activity) -> Self {
        Self {
            state: None,
            activity: ActivityChange::Set(activity),
        }
    }
}

#[cfg(test)]
#[path = "activity/tests.rs"]
mod tests;
