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
-- Needs ttl (lib/call.lua), MAX_NUMBER (lib/record.lua). Defines split_claim, decode_past, encode_past.

-- Splits `<connection_id>!<gateway_id>`. No id can contain a `!`. The gateway is nil if the connection has none.
local function split_claim(claim)
  local at = string.find(claim, '!', 1, true)
  if at then
    return string.sub(claim, 1, at - 1), string.sub(claim, at + 1)
  end
  return claim, nil
end

-- Returns { last_seen, version, state, reason, expires_at, activity, leases = list of { id, gateway, expires_at },
-- ended = list of ids }, or nil if the text is malformed.
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
    leases[#leases + 1] = { id = id, gateway = gateway, expires_at = last_seen + (tonumber(lease_duration) or ttl) }
  end
  local ended = {}
  for id in string.gmatch(string.match(rest, '^[^{]*'), '~([^ ]+)') do
    ended[#ended + 1] = id
  end
  return {
    last_seen = last_seen,
    version = version,
    state = string.match(rest, '[A-Z_]+') or 'ONLINE',
    reason = string.match(rest, '[a-z][a-z_]*') or 'expired',
    expires_at = last_seen + duration,
    activity = string.match(rest, '{.*}$'),
    leases = leases,
    ended = ended,
  }
end

-- The connections that have ended and are not closed, as words.
local function ended_words(player)
  local words = ''
  if player.state ~= 'OFFLINE' and (#player.leases == 0 or player.keeps_ended) then
    for _, lease in ipairs(player.not_counting) do
      words = lease.has_ended and words .. ' ~' .. lease.id or words
    end
  end
  return words
end

local function encode_past(player, expires_at, reason)
  local function with_duration(text, expires_at)
    local duration = math.max(expires_at - player.last_seen, 0)
    return duration == ttl and text or text .. ' ' .. duration
  end

  local activity, ended = player.activity, ended_words(player)
  local is_full = activity or ended ~= ''
  local line = player.last_seen .. ' ' .. player.version
  if player.state ~= 'ONLINE' or is_full then
    line = line .. ' ' .. player.state
  end
  -- The reason in an OFFLINE past keeps lib/known.lua from renewing it.
  if reason ~= 'expired' or player.state == 'OFFLINE' or is_full then
    line = line .. ' ' .. reason
  end
  if is_full then
    line = line .. ' ' .. math.max(expires_at - player.last_seen, 0) .. ended .. (activity and ' ' .. activity or '')
  else
    line = with_duration(line, expires_at)
  end
  local parts = { line }
  local is_offline = player.state == 'OFFLINE'
  for i, lease in ipairs(is_offline and player.not_counting or player.leases) do
    -- A lease that has ended belongs to no gateway.
    local claim = lease.gateway and not is_offline and lease.id .. '!' .. lease.gateway or lease.id
    parts[i + 1] = with_duration(claim, lease.expires_at)
  end
  return table.concat(parts, ';')
end
