-- Known leases, renewed: what nearly all heartbeats are.
-- Needs keys_each, the number of an entry's keys, of which record and past are the first; and before_ids, the number of
-- arguments before the connection ids. ARGV[1] is the ttl (ms).
-- Leaves records: each entry's record, false where the lease is not known; unknown: the list of these entries, or nil.

-- The common case comes first and takes nothing apart: where the lease is the player's only one and was renewed by the
-- last call, all of the past stays but the 13 digits of `last_seen`, and the record follows from it (lib/past.lua,
-- lib/record.lua). The index keeps its earlier time. What comes next is not even defined unless an entry needs it.
-- Texts stay texts, numbers among them: making one of the other is most of what a script costs.
local call, find, match, sub = redis.call, string.find, string.match, string.sub
local entries, ttl_text, time = math.floor(#KEYS / keys_each), ARGV[1], redis.call('TIME')
local micros = #time[2] == 6 and time[2] or string.format('%06d', time[2])
local now_text = time[1] .. sub(micros, 1, 3)

-- Where the version and what comes after it stand in a past.
local VERSION, REST = 15, 28

local records, others, unknown = {}, nil, nil
for entry = 1, entries do
  local record_key, past_key = KEYS[keys_each * (entry - 1) + 1], KEYS[keys_each * (entry - 1) + 2]
  local past = redis.pcall('GET', past_key)
  -- No string: one key of somebody else's shall not fail the call for all its players.
  local leases = past and not past.err and find(past, ';', REST, true)
  local state = leases == REST and 'ONLINE' or leases and match(past, '^ ([A-Z_]+);', REST)
  local record = false
  if state and sub(past, leases + 1) == ARGV[before_ids + entry] then
    record = '{"last_seen":' .. now_text .. ',"version":' .. sub(past, VERSION, REST - 1)
      .. ',"connection_count":1,"state":"' .. state .. '"}'
    record = call('SET', record_key, record, 'XX', 'PX', ttl_text) and record
  end
  records[entry] = record
  if record then
    call('SETRANGE', past_key, '0', now_text)
  else
    others = others or {}
    others[#others + 1] = entry
  end
end

-- Next come players with several devices. While all their leases count, one is renewed in full, the others have as much
-- less left as time went by, and nothing else changes. The past is read anew: an earlier entry may be the same player's.
if others then
  local whole = tonumber(ttl_text)

  -- Returns the record; false where this is another case, and nothing was changed.
  local function renew_among(entry)
    local record_key, past_key = KEYS[keys_each * (entry - 1) + 1], KEYS[keys_each * (entry - 1) + 2]
    local past, connection = redis.pcall('GET', past_key), ARGV[before_ids + entry]
    past = past and not past.err and past or ''
    local last_seen, version, state, leases = match(past, '^(%d+) (%d+) ?([A-Z_]*)(;.*)$')
    if not version then
      return false
    end
    local elapsed, is_known = now_text - last_seen, false
    local durations, texts = {}, {}
    for id, duration in string.gmatch(leases, ';([^; ]+) ?(%d*)') do
      local left = (tonumber(duration) or whole) - elapsed
      if left <= 0 then
        return false
      elseif id == connection then
        left, is_known = whole, true
      end
      durations[#durations + 1] = left
      texts[#texts + 1] = left == whole and ';' .. id or ';' .. id .. ' ' .. left
    end
    local record = '{"last_seen":' .. now_text .. ',"version":' .. version
      .. ',"connection_count":' .. #durations .. ',"state":"' .. (state == '' and 'ONLINE' or state)
      .. '","leases":[' .. table.concat(durations, ',') .. ']}'
    if not (is_known and call('SET', record_key, record, 'XX', 'PX', ttl_text)) then
      return false
    end
    call('SET', past_key, now_text .. sub(past, #last_seen + 1, #past - #leases) .. table.concat(texts))
    return record
  end

  for _, entry in ipairs(others) do
    records[entry] = renew_among(entry)
    if not records[entry] then
      unknown = unknown or {}
      unknown[#unknown + 1] = entry
    end
  end
end
