-- The codec of players: their record and their past as tables. lib/formats.lua describes both texts.
-- Needs ttl (lib/call.lua), lib/formats.lua. Defines text_of, decode_record, encode_record, split_claim, decode_past,
-- encode_past.

-- A greater stored number is invalid. Lua prints numbers of up to 14 digits in full, and Redis accepts no other form.
local MAX_NUMBER = 9e13

-- Returns a number as text. Lua prints a number by way of floating point, which takes as long as a command of Redis, and
-- the same few numbers occur many times in a call.
local texts = {}
local function text_of(number)
  local text = texts[number]
  if not text then
    text = tostring(number)
    texts[number] = text
  end
  return text
end

local RECORD = '^{"last_seen":(%d+),"version":(%d+),"connection_count":%d+,"state":"([A-Z_]+)"[,}]'

-- Returns { last_seen, version, state }, or nil if the text is malformed.
local function decode_record(json)
  local last_seen, version, state = string.match(json or '', RECORD)
  last_seen, version = tonumber(last_seen), tonumber(version)
  if not state or math.max(last_seen, version) > MAX_NUMBER then
    return nil
  end
  return { last_seen = last_seen, version = version, state = state }
end

local function encode_record(player)
  local durations = {}
  for i, lease in ipairs(player.leases) do
    durations[i] = math.max(lease.expires_at - player.last_seen, 0)
  end
  return record_text(text_of(player.last_seen), text_of(player.version), text_of(#durations), player.state,
    #durations > 1 and table.concat(durations, ','), player.activity)
end

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
  for claim, lease_duration in string.gmatch(list, LEASE) do
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

-- Returns what is between the times and the leases of a past.
local function past_words(player, duration, reason)
  local ended, activity = ended_words(player), player.activity
  if activity or ended ~= '' then
    return ' ' .. player.state .. ' ' .. reason .. ' ' .. duration .. ended .. (activity and ' ' .. activity or '')
  end
  -- The reason in an OFFLINE past keeps lib/known.lua from renewing it.
  local has_reason = reason ~= 'expired' or player.state == 'OFFLINE'
  return (player.state == 'ONLINE' and '' or ' ' .. player.state) .. (has_reason and ' ' .. reason or '')
    .. (duration == ttl and '' or ' ' .. duration)
end

local function encode_past(player, expires_at, reason)
  local function duration_to(time)
    return math.max(time - player.last_seen, 0)
  end

  local times = text_of(player.last_seen) .. ' ' .. text_of(player.version)
  local parts = { times .. past_words(player, duration_to(expires_at), reason) }
  local is_offline = player.state == 'OFFLINE'
  for i, lease in ipairs(is_offline and player.not_counting or player.leases) do
    -- A lease that has ended belongs to no gateway.
    local claim = lease.gateway and not is_offline and lease.id .. '!' .. lease.gateway or lease.id
    local duration = duration_to(lease.expires_at)
    parts[i + 1] = duration == ttl and claim or claim .. ' ' .. duration
  end
  return table.concat(parts, ';')
end
