-- The formats of the two texts that are stored per player, and what both the codec (lib/codec.lua) and the renewal fast
-- path (lib/known.lua) need of them. The fast path has some text handling of its own, as function calls are expensive
-- there: lua/README.md has the figures.
--
-- The record: a player's presence while the player is not OFFLINE.
--
--   {"last_seen":…,"version":…,"connection_count":…,"state":"…","leases":[<ms>,…],"activity":true}
--
-- `leases` is written if the player has several: each number is the time from `last_seen` to a lease's expiry. A single
-- lease expires with the record. `activity` is written if the player has one; its text is in the past, which a heartbeat
-- of the only connection reads anyway and does not rewrite. The order of the members is part of the format. No state
-- needs escaping in JSON, so records are encoded and decoded as text, without cjson.
--
-- The past (a shadow key): the leases of a player, and what outlives the record, in one line of text.
--
--   <last_seen> <version> <state> <reason> <ms until the end> ~<connection_id>… <activity>;<connection_id>!<gateway_id> <ms>;…
--
-- While the player is not OFFLINE, the past has what an OFFLINE transition needs to know after the record has expired:
-- the state; the reason of the end (`expired` or, in a grace, `lost`); its time, in ms after `last_seen`; and for each
-- lease how many ms after `last_seen` it expires. Defaults are left out: the state ONLINE, the reason `expired`, and a
-- number of ms that equals the TTL. After the OFFLINE transition, the state is OFFLINE, the reason is always written,
-- and the leases are those that expired without a disconnect, so that a sign-out can still close them. The key then
-- lives for the retention. lib/known.lua overwrites the 13 digits of `last_seen` in place.
--
-- Connections after a `~` have ended with their gateway and are not closed: a sign-out closes them, too. They stay while
-- the player has no lease; beside another lease, until the player is stored next.
--
-- `activity` is the JSON object that says what the player is doing, if it has one. The service writes equal activities
-- as equal text, with each `;` escaped; the scripts do not look into it. Before the ended connections and the activity
-- no default is left out: the words before them are the first ones of the line, so no word of theirs is taken for one
-- of them, even by programs that know neither.
--
-- Needs nothing. Defines LEASE, record_text.

-- A lease in a past: its connection, with the gateway, and the ms until its expiry (empty for the TTL).
local LEASE = ';([^; ]+) ?(%d*)'

-- Returns a record. `durations` are the leases' ms, with commas; nil if there are not several. Numbers may be texts.
local function record_text(last_seen, version, connection_count, state, durations, has_activity)
  return '{"last_seen":' .. last_seen .. ',"version":' .. version .. ',"connection_count":' .. connection_count
    .. ',"state":"' .. state .. (durations and '","leases":[' .. durations .. ']' or '"')
    .. (has_activity and ',"activity":true}' or '}')
end
