-- The past: whose the leases are, and what outlives the record, in one line of text.
--
--   <last_seen> <version> <state> <reason> <ms until the end>;<connection_id> <ms>;…
--
-- While the player is not OFFLINE it says what the record said last, so that a record that ran out is still known: its
-- state, why it ended (`expired` or, in a grace, `lost`), and when: so many milliseconds after `last_seen`; and each
-- lease with the milliseconds that it counts. What is as usual is left out: the state where it is ONLINE, the reason where
-- it is `expired`, milliseconds where they are the TTL. Once the OFFLINE transition is made the state is OFFLINE, the reason
-- is always there, the leases are those that expired without a disconnect, so that a sign-out can still close them, and
-- the key lives for the retention. lib/known.lua patches the 13 digits of `last_seen` in place.

-- Returns { last_seen, version, state, reason, expires_at, leases = list of { id, expiry } }, or nil.
local function decode_past(line)
  local last_seen, version, rest, list = string.match(line or '', '^(%d+) (%d+)([^;]*)(.*)$')
  if not version then
    return nil
  end
  local leases = {}
  for id, duration in string.gmatch(list, ';([^; ]+) ?(%d*)') do
    leases[#leases + 1] = { id = id, expiry = last_seen + (tonumber(duration) or ttl) }
  end
  return {
    last_seen = tonumber(last_seen),
    version = tonumber(version),
    state = string.match(rest, '[A-Z_]+') or 'ONLINE',
    reason = string.match(rest, '[a-z][a-z_]*') or 'expired',
    expires_at = last_seen + (string.match(rest, '%d+') or ttl),
    leases = leases,
  }
end

local function encode_past(player, expires_at, reason)
  local function with_duration(text, ends_at)
    local duration = math.max(ends_at - player.last_seen, 0)
    return duration == ttl and text or text .. ' ' .. duration
  end

  local line = player.last_seen .. ' ' .. player.version
  if player.state ~= 'ONLINE' then
    line = line .. ' ' .. player.state
  end
  -- With its reason, an OFFLINE past is never taken for one that lib/known.lua may renew.
  if reason ~= 'expired' or player.state == 'OFFLINE' then
    line = line .. ' ' .. reason
  end
  local parts = { with_duration(line, expires_at) }
  for i, lease in ipairs(player.state == 'OFFLINE' and player.lapsed or player.leases) do
    parts[i + 1] = with_duration(lease.id, lease.expiry)
  end
  return table.concat(parts, ';')
end
