-- A player as a script works on it: loaded once, changed in memory, stored once.
--
--   { id, state, version, last_seen, activity, leases, lapsed, reason, expires_at, is_overdue, is_unread, record, past,
--     closed, members }
--
-- `leases`, a list of { id, gateway, expiry } in the order in which they were opened, are those that count; `lapsed` those that
-- expired since the record was stored: the next store drops them, and an OFFLINE transition keeps them for a sign-out.
-- A lease and a record count through the millisecond of their expiry, as a Redis key does, and not after.
-- `state` is OFFLINE if there is no record. `version` is the newest one known, 0 if there is none. `reason` is why the
-- player will have gone OFFLINE when the record expires at `expires_at`. `is_overdue`: it has expired, and the OFFLINE
-- transition is due; until expire_if_due makes it, `state` is what it was. `is_unread`: there is no record of our form.
-- `activity` is the JSON of what the player is doing, nil if there is none. `gateway` of a lease is nil if it belongs to no
-- gateway; `members` is what the owners hold of the player (lib/owners.lua).
--
-- If the clock was set back, what was stored may lie in the future: no lease or record is taken to count for longer than
-- one TTL from now, and the next store says so; nor is the player stored as seen later than now.
--
-- Needs now, ttl, retention, prefix, index (lib/call.lua, lib/clock.lua), the record, the past, events, owners, and types.

local NO_EXPIRY = -1

local function player_id(record)
  return string.sub(record, prefix + 1)
end

-- Gives the player its next version: above every earlier one, also above those that a flush made Redis forget.
local function next_version(player)
  player.version = math.max(player.version + 1, now)
end

local function go_to(player, state, reason)
  local previous_state = player.state
  player.state = state
  next_version(player)
  record_event(player, previous_state, reason)
end

-- The OFFLINE transition: the record goes, the past stays for the retention, counted from `ended_at`; but for one TTL at
-- least, and through the millisecond of its version: the next one has to be above it. (A read goes by `ended_at`.)
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

-- Whether the record's key expired before this call read the clock. Redis 7.0 decides whether a key counts by the time at
-- which the script began.
local function has_key_expired(record)
  local expires_at = redis.call('PEXPIRETIME', record)
  return expires_at ~= NO_EXPIRY and expires_at < now
end

-- Returns the { state, version, last_seen } that was stored last, or nil; and whether the record has expired unnoticed.
-- `text` is what the record's key holds, false if that is no string; `known` what could be read of it.
-- `current` is the past of a player who is not OFFLINE as far as the past knows, or nil.
local function stored_presence(record_key, text, known, before, current)
  local is_over = current and current.expires_at < now
  if known then
    return known, is_over and has_key_expired(record_key)
  end
  -- A record that is not ours to read is as its past says, until that expires.
  local is_unreadable = current and not is_over and (text or redis.call('EXISTS', record_key) == 1)
  return before, current and not is_unreadable
end

-- Sorts the leases of a past into those that count and those that have lapsed.
local function sort_leases(player, leases)
  for _, lease in ipairs(leases) do
    local counts = player.state ~= 'OFFLINE' and not player.is_overdue and lease.expiry >= now
    local list = counts and player.leases or player.lapsed
    list[#list + 1] = { id = lease.id, gateway = lease.gateway, expiry = math.min(lease.expiry, now + ttl) }
    if lease.gateway then
      player.members[#player.members + 1] = member_of(player, lease)
    end
  end
end

-- Loads the player of an entry. Changes nothing. Returns nil if the keys that players share are of another type.
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
    lapsed = {},
    reason = current and current.reason or 'expired',
    expires_at = math.min(current and current.expires_at or now + ttl, now + ttl),
    is_overdue = is_overdue,
    is_unread = not read,
    members = {},
  }
  sort_leases(player, before and before.leases or {})
  return player
end

-- Makes the OFFLINE transition of a record that expired unnoticed, before anything else happens to the player.
local function expire_if_due(player)
  if player.is_overdue then
    player.is_overdue = false
    go_offline(player, player.reason, math.min(player.expires_at, now))
    player.reason = 'expired'
  end
end

-- Whether there is a record that is not ours to read, and nothing that tells what it was: the player is not known to be
-- OFFLINE. Only connect and heartbeat put that right, as they know that the player is online.
local function is_unknown(player)
  return player.is_unread and (player.state == 'OFFLINE' or player.is_overdue)
    and redis.call('EXISTS', player.record) == 1
end

-- Stores a player who is not OFFLINE, to expire at `expires_at` for `reason`. The index may hold an earlier time:
-- the sweep reschedules players that it finds alive.
local function store_player(player, expires_at, reason)
  player.last_seen = math.min(player.last_seen, now)
  local record = encode_record(player, player.activity and 'true')
  if expires_at == now and player.expires_at == now then
    -- Valkey deletes a key at once that is to expire in this very millisecond.
    redis.call('SET', player.record, record, 'KEEPTTL')
  else
    redis.call('SET', player.record, record, 'PXAT', expires_at)
  end
  redis.call('SET', player.past, encode_past(player, expires_at, reason))
  redis.call('ZADD', index, 'LT', expires_at, player.id)
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
