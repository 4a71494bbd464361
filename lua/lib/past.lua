-- The past: whose the leases are, and what outlives the record, in one line of text.
--
--   <last_seen> <version> <state> <reason> <ms until the end> <activity>;<connection_id>!<gateway_id> <ms>;…
--
-- While the player is not OFFLINE it says what the record said last, so that a record that ran out is still known: its
-- state, why it ended (`expired` or, in a grace, `lost`), and when: so many milliseconds after `last_seen`; and each
-- lease with the milliseconds that it counts. What is as usual is left out: the state where it is ONLINE, the reason where
-- it is `expired`, milliseconds where they are the TTL. Once the OFFLINE transition is made the state is OFFLINE, the reason
-- is always there, the leases are those that expired without a disconnect, so that a sign-out can still close them, and
-- the key lives for the retention. lib/known.lua patches the 13 digits of `last_seen` in place.
--
-- `activity` is the JSON object that says what the player is doing, if there is one. The service writes equal activities
-- alike and each `;` in them as an escape; nothing here looks into it. Before an activity nothing is left out: the words
-- are the first ones of the line, so its own are not taken for them, also not by programs that know of no activities.

-- Takes `<connection_id>!<gateway_id>` apart. No id holds a `!`. Returns nil for the gateway of a connection without one.
local function split_claim(claim)
  local at = string.find(claim, '!', 1, true)
  if at then
    return string.sub(claim, 1, at - 1), string.sub(claim, at + 1)
  end
  return claim, nil
end

-- Returns { last_seen, version, state, reason, expires_at, activity, leases = list of { id, gateway, expiry } }, or
-- nil.
local function decode_past(line)
  local last_seen, version, rest, list = string.match(line or '', '^(%d+) (%d+)([^;]*)(.*)$')
  if not version then
    return nil
  end
  last_seen, version = tonumber(last_seen), tonumber(version)
  local duration = tonumber(string.match(rest, '%d+')) or ttl
  if math.max(last_seen, version, duration) > MAX_NUMBER then
    return nil
  end
  local leases = {}
  for claim, lease_duration in string.gmatch(list, ';([^; ]+) ?(%d*)') do
    local id, gateway = split_claim(claim)
    leases[#leases + 1] = { id = id, gateway = gateway, expiry = last_seen + (tonumber(lease_duration) or ttl) }
  end
  return {
    last_seen = last_seen,
    version = version,
    state = string.match(rest, '[A-Z_]+') or 'ONLINE',
    reason = string.match(rest, '[a-z][a-z_]*') or 'expired',
    expires_at = last_seen + duration,
    activity = string.match(rest, '{.*}$'),
    leases = leases,
  }
end

local function encode_past(player, expires_at, reason)
  local function with_duration(text, ends_at)
    local duration = math.max(ends_at - player.last_seen, 0)
    return duration == ttl and text or text .. ' ' .. duration
  end

  local activity = player.activity
  local line = player.last_seen .. ' ' .. player.version
  if player.state ~= 'ONLINE' or activity then
    line = line .. ' ' .. player.state
  end
  -- With its reason, an OFFLINE past is never taken for one that lib/known.lua may renew.
  if reason ~= 'expired' or player.state == 'OFFLINE' or activity then
    line = line .. ' ' .. reason
  end
  line = activity and line .. ' ' .. math.max(expires_at - player.last_seen, 0) .. ' ' .. activity
    or with_duration(line, expires_at)
  local parts = { line }
  local is_offline = player.state == 'OFFLINE'
  for i, lease in ipairs(is_offline and player.lapsed or player.leases) do
    -- A lease that has ended belongs to no gateway.
    local claim = lease.gateway and not is_offline and lease.id .. '!' .. lease.gateway or lease.id
    parts[i + 1] = with_duration(claim, lease.expiry)
  end
  return table.concat(parts, ';')
end
