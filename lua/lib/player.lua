-- A player as a script works on it: loaded once, changed in memory, stored once.
--
--   { id, state, version, last_seen, leases, lapsed, reason, record, past, closed }
--
-- `leases`, a list of { id, expiry }, are those that count, `lapsed` those that ran out since the record was stored: the
-- next store drops them.
-- `state` is OFFLINE where there is no record. `version` is the newest one known, 0 where none is.
-- `reason` is why the player will have gone OFFLINE if the record runs out.

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

-- The OFFLINE transition: the record goes, the past stays for the retention, counted from `ended_at`.
local function go_offline(player, reason, ended_at)
  player.leases = {}
  go_to(player, 'OFFLINE', reason)
  redis.call('DEL', player.record)
  redis.call('ZREM', index, player.id)
  redis.call('SET', player.past, encode_past(player, ended_at, reason), 'PXAT', ended_at + retention)
end

-- Loads the player of an entry. A record that ran out unnoticed makes its OFFLINE transition here, before anything else.
-- Returns the player, and whether that was so.
local function load_player(entry)
  local record, past, closed = KEYS[3 * entry - 2], KEYS[3 * entry - 1], KEYS[3 * entry]
  local values = redis.call('MGET', record, past)
  local known, before = decode_record(values[1]), decode_past(values[2])
  local player = {
    id = player_id(record),
    record = record,
    past = past,
    closed = closed,
    state = 'OFFLINE',
    version = 0,
    last_seen = 0,
    leases = {},
    lapsed = {},
    reason = known and before and before.reason or 'expired',
  }
  if known then
    player.state, player.version, player.last_seen = known.state, known.version, known.last_seen
    for _, lease in ipairs(before and before.leases or {}) do
      local list = lease.expiry > now and player.leases or player.lapsed
      list[#list + 1] = lease
    end
  elseif before then
    player.state, player.version, player.last_seen = before.state, before.version, before.last_seen
    if player.state ~= 'OFFLINE' then
      go_offline(player, before.reason, before.expires_at)
      return player, true
    end
  end
  return player, false
end

-- Stores a player who is not OFFLINE, to run out at `expires_at` for `reason`. The index may hold an earlier time:
-- the sweep files anew whom it finds alive.
local function store_player(player, expires_at, reason)
  redis.call('SET', player.record, encode_record(player), 'PXAT', expires_at)
  redis.call('SET', player.past, encode_past(player, expires_at, reason))
  redis.call('ZADD', index, 'LT', expires_at, player.id)
end

local function find_lease(player, connection)
  for i, lease in ipairs(player.leases) do
    if lease.id == connection then
      return i
    end
  end
  return nil
end
