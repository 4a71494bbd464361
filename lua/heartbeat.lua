-- Renews leases. A lease that the player does not hold, and that was not closed, is restored.
-- KEYS: see lib/call.lua
-- ARGV: …, connection_id of each entry
-- Returns: see lib/reply.lua; the last entry's record alone where all leases were known and nothing else was to be done

-- The common case comes first and takes nothing apart: where the lease is the player's only one and was renewed by the
-- last call, all of the past stays but the 13 digits of `last_seen`, and the record follows from it (lib/past.lua,
-- lib/record.lua). The index keeps its earlier time. What follows a loop is not even defined unless an entry needs it.
-- Texts stay texts, numbers among them: making one of the other is most of what a script costs.
local call, find, match, sub = redis.call, string.find, string.match, string.sub
local entries, ttl_text, time = math.floor(#KEYS / 3), ARGV[1], redis.call('TIME')
local micros = #time[2] == 6 and time[2] or string.format('%06d', time[2])
local now_text = time[1] .. sub(micros, 1, 3)

-- Where the version and what comes after it stand in a past.
local VERSION, REST = 15, 28

local json, others
for entry = 1, entries do
  local past = redis.pcall('GET', KEYS[3 * entry - 1])
  -- No string: one key of somebody else's shall not fail the call for all its players.
  local leases = past and not past.err and find(past, ';', REST, true)
  local state = leases == REST and 'ONLINE' or leases and match(past, '^ ([A-Z_]+);', REST)
  local is_renewed = state and sub(past, leases + 1) == ARGV[2 + entry]
  if is_renewed then
    json = '{"last_seen":' .. now_text .. ',"version":' .. sub(past, VERSION, REST - 1)
      .. ',"connection_count":1,"state":"' .. state .. '"}'
    is_renewed = call('SET', KEYS[3 * entry - 2], json, 'XX', 'PX', ttl_text)
  end
  if is_renewed then
    call('SETRANGE', KEYS[3 * entry - 1], '0', now_text)
  else
    others = others or {}
    others[#others + 1] = entry
  end
end
if not others then
  return json
end

-- Next come players with several devices. While all their leases count, one is renewed in full, the others have as much
-- less left as time went by, and nothing else changes. The past is read anew: an earlier entry may be the same player's.
local whole = tonumber(ttl_text)

-- Returns the record; nil where this is another case, and nothing was changed.
local function renew_among(entry)
  local past, connection = redis.pcall('GET', KEYS[3 * entry - 1]), ARGV[2 + entry]
  past = past and not past.err and past or ''
  local last_seen, version, state, leases = match(past, '^(%d+) (%d+) ?([A-Z_]*)(;.*)$')
  if not version then
    return nil
  end
  local elapsed, is_known = now_text - last_seen, false
  local durations, texts = {}, {}
  for id, duration in string.gmatch(leases, ';([^; ]+) ?(%d*)') do
    local left = (tonumber(duration) or whole) - elapsed
    if left <= 0 then
      return nil
    elseif id == connection then
      left, is_known = whole, true
    end
    durations[#durations + 1] = left
    texts[#texts + 1] = left == whole and ';' .. id or ';' .. id .. ' ' .. left
  end
  local record = '{"last_seen":' .. now_text .. ',"version":' .. version
    .. ',"connection_count":' .. #durations .. ',"state":"' .. (state == '' and 'ONLINE' or state)
    .. '","leases":[' .. table.concat(durations, ',') .. ']}'
  if not (is_known and call('SET', KEYS[3 * entry - 2], record, 'XX', 'PX', ttl_text)) then
    return nil
  end
  call('SET', KEYS[3 * entry - 1], now_text .. sub(past, VERSION - 1, #past - #leases) .. table.concat(texts))
  return record
end

local unpatched = {}
for _, entry in ipairs(others) do
  json = renew_among(entry)
  if not json then
    unpatched[#unpatched + 1] = entry
  end
end
if #unpatched == 0 then
  return json
end

-- @include call
-- @include clock
-- @include record
-- @include past
-- @include events
-- @include player
-- @include closed
-- @include renew
-- @include reply

local outcomes, player = {}, nil
for entry = 1, entries do
  outcomes[entry] = 'A'
end
for _, entry in ipairs(unpatched) do
  player = load_player(entry)
  outcomes[entry] = renew_lease(player, ARGV[2 + entry], 'restore')
end
return reply(outcomes, player)
