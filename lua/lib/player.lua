-- A player as a script works on it: loaded once, changed in memory, stored once.
--
--   { id, state, version, last_seen, activity, leases, not_counting, keeps_ended, reason, expires_at, is_overdue,
--     has_no_record, record, past, closed, members }
--
-- id, record, past, closed  the player's id, and its keys
-- state          the state; OFFLINE if the player has no record
-- version        the newest known version, 0 if none is known
-- activity       the JSON of what the player is doing, or nil
-- leases         the leases that count, a list of { id, gateway, expires_at } in the order in which they were opened;
--                `gateway` is nil if the connection belongs to no gateway
-- not_counting   the leases that expired since the record was stored: the next store drops them, and an OFFLINE
--                transition keeps them for a sign-out. Those with `has_ended` ended with their gateway: a store keeps
--                them while the player has no lease, or if `keeps_ended` is true
-- keeps_ended    true if the next store keeps the ended leases beside another lease
-- reason         the reason of the OFFLINE transition if the record expires at `expires_at`
-- is_overdue     true if the record has expired and the OFFLINE transition is due; `state` keeps its old value until
--                expire_if_due makes the transition
-- has_no_record  true if no well-formed record was found
-- members        the player's members of the owners (lib/owners.lua)
--
-- A lease and a record count through the millisecond of their expiry, as a Redis key does, and not after. If the clock
-- was set back, stored times may lie in the future: no lease or record counts for longer than one TTL from now, and the
-- next store writes that; nor is the player stored with a `last_seen` later than now.
--
-- Needs lib/call.lua, lib/clock.lua, lib/types.lua, lib/formats.lua, lib/codec.lua, lib/events.lua, lib/owners.lua.
-- Defines NO_EXPIRY, player_id, go_to, go_offline, load_player, expire_if_due, is_record_malformed, store_player,
-- find_lease.

local NO_EXPIRY = -1

local function player_id(record)
  return string.sub(record, id_offset + 1)
end

-- Gives the player its next version: above every earlier one, also above those that Redis lost in a flush.
local function next_version(player)
  player.version = math.max(player.version + 1, now)
end

local function go_to(player, state, reason)
  local previous_state = player.state
  player.state = state
  next_version(player)
  record_event(player, previous_state, reason)
end

-- Makes the OFFLINE transition: deletes the record and keeps the past for the retention, counted from `ended_at`; but
-- for at least one TTL, and through the millisecond of its version, as the next version has to be above it. (Reads
-- compute the retention from `ended_at`.)
local function go_offline(player, reason, ended_at)
  player.leases = {}
  player.last_seen = math.min(player.last_seen, now)
  player.activity = nil
  go_to(player, 'OFFLINE', reason)
  redis.call('DEL', player.record)
  redis.call('ZREM', index, player.id)
  local forget_at = math.max(ended_at + retention, now + ttl, player.version)
  redis.call('SET', player.past, encode_past(player, ended_at, reason), 'PXAT', forget_at)
  update_owners(player)
end

-- Returns whether the record's key expired before this call read the clock. Redis 7.0 decides whether a key exists by
-- the time at which the script began.
local function has_key_expired(record)
  local expires_at = redis.call('PEXPIRETIME', record)
  return expires_at ~= NO_EXPIRY and expires_at < now
end

-- Returns the last stored { state, version, last_seen }, or nil; and whether the record has expired without its OFFLINE
-- transition. `text` is the value of the record's key, false if the key is missing or not a string; `known` is the
-- decoded record; `before` is the decoded past, and `current` the same unless it says OFFLINE.
local function stored_presence(record_key, text, known, before, current)
  local is_over = current and current.expires_at < now
  if known then
    return known, is_over and has_key_expired(record_key)
  end
  -- For a malformed record the past counts, until it expires.
  local is_malformed = current and not is_over and (text or redis.call('EXISTS', record_key) == 1)
  return before, current and not is_malformed
end

-- Splits the leases of a past into those that count and those that do not.
local function sort_leases(player, leases)
  for _, lease in ipairs(leases) do
    local counts = player.state ~= 'OFFLINE' and not player.is_overdue and lease.expires_at >= now
    local list = counts and player.leases or player.not_counting
    list[#list + 1] = { id = lease.id, gateway = lease.gateway, expires_at = math.min(lease.expires_at, now + ttl) }
    if lease.gateway then
      player.members[#player.members + 1] = member_of(player, lease)
    end
  end
end

-- Loads the player of an entry. Changes nothing. Returns nil if a key that players share is of another type.
local function load_player(entry)
  if not are_shared_keys_usable() then
    return nil
  end
  local record, past, closed = KEYS[3 * entry - 2], KEYS[3 * entry - 1], KEYS[3 * entry]
  local values = redis.call('MGET', record, past)
  local read, before = decode_record(values[1]), decode_past(values[2])
  local current = before and before.state ~= 'OFFLINE' and before
  local known, is_overdue = stored_presence(record, values[1], read, before, current)
  local player = {
    id = player_id(record),
    record = record,
    past = past,
    closed = closed,
    state = known and known.state or 'OFFLINE',
    version = known and known.version or 0,
    last_seen = known and known.last_seen or 0,
    activity = current and current.activity or nil,
    leases = {},
    not_counting = {},
    reason = current and current.reason or 'expired',
    expires_at = math.min(current and current.expires_at or now + ttl, now + ttl),
    is_overdue = is_overdue,
    has_no_record = not read,
    members = {},
  }
  sort_leases(player, before and before.leases or {})
  for _, id in ipairs(before and before.ended or {}) do
    player.not_counting[#player.not_counting + 1] = { id = id, expires_at = 0, has_ended = true }
  end
  return player
end

-- Makes the missed OFFLINE transition of an expired record, before any other change of the player.
local function expire_if_due(player)
  if player.is_overdue then
    player.is_overdue = false
    go_offline(player, player.reason, math.min(player.expires_at, now))
    player.reason = 'expired'
  end
end

-- Returns whether the record is malformed and the past does not say what it was: the player is not known to be OFFLINE.
-- Only connect and heartbeat repair that, as they know that the player is online.
local function is_record_malformed(player)
  return player.has_no_record and (player.state == 'OFFLINE' or player.is_overdue)
    and redis.call('EXISTS', player.record) == 1
end

-- Stores a player that is not OFFLINE, to expire at `expires_at` with `reason`. The index may hold an earlier time: the
-- sweep reschedules players that it finds alive.
local function store_player(player, expires_at, reason)
  player.last_seen = math.min(player.last_seen, now)
  local record = encode_record(player)
  if expires_at == now and player.expires_at == now then
    -- Valkey would at once delete a key that expires in the current millisecond.
    redis.call('SET', player.record, record, 'KEEPTTL')
  else
    redis.call('SET', player.record, record, 'PXAT', text_of(expires_at))
  end
  redis.call('SET', player.past, encode_past(player, expires_at, reason))
  redis.call('ZADD', index, 'LT', text_of(expires_at), player.id)
  update_owners(player)
end

local function find_lease(leases, connection)
  for i, lease in ipairs(leases) do
    if lease.id == connection then
      return i
    end
  end
  return nil
end
