-- The renewal fast path: renews known leases without loading the player, which is all that nearly every heartbeat
-- needs.
-- Needs keys_each, the number of keys per entry, of which record and past come first; and before_ids, the number of
-- arguments before the connection ids. ARGV[1] is the ttl (ms).
-- Defines entries; now_text, the one reading of the clock in this call (Unix ms); records, the record of each entry, or
-- false if its lease is unknown; unknown, the list of entries with an unknown lease, or nil.

-- The common case comes first and decodes nothing. If the lease is the player's only one and was renewed by the last
-- call, only the 13 digits of `last_seen` change in the past, and the record follows from the past (lib/past.lua,
-- lib/record.lua). No past contains a closed connection, so neither path below can renew one. The index keeps its
-- earlier time. Code for rarer cases is not even defined until an entry needs it. Numbers stay strings: converting them
-- is most of this script's cost. '%d' prints a number faster than '..' does.
local redis, string, KEYS, ARGV = redis, string, KEYS, ARGV
local call, find, match, sub = redis.call, string.find, string.match, string.sub
local time, ttl_text, entries = call('TIME'), ARGV[1], #ARGV - before_ids
local micros = time[2]
if #micros < 6 then
  micros = string.format('%06d', micros)
end
local now_text = time[1] .. sub(micros, 1, 3)
-- An absolute time: for a relative one Redis 7.0 would read the clock again, and the record would outlive the lease.
local expires_text = string.format('%d', now_text + ttl_text)

-- Offsets in a past: of the version, and of the text after it.
local VERSION, REST = 15, 28

-- A past of one lease and no activity is hardly ever as long as this (bytes), so only longer ones are searched for an
-- activity before anything else. Each Lua string costs some 10 instructions per byte, each step of a pattern some 20: an
-- activity is copied as seldom as possible, and no pattern walks over it.
local LONG = 160

local records, others, unknown = { false }, nil, nil
for entry = 1, entries do
  local first = keys_each * (entry - 1)
  local record_key, past_key = KEYS[first + 1], KEYS[first + 2]
  local past = redis.pcall('GET', past_key)
  local lease = ';' .. ARGV[before_ids + entry]
  local state -- nil: the past may contain an activity
  if not past or past.err then
    state = false -- an error means a key of another type, which must not fail the call for the other players
  elseif #past < LONG or not find(past, '{', REST, true) then
    local rest = sub(past, REST)
    state = rest == lease and 'ONLINE' or sub(rest, -#lease) == lease and match(rest, '^ ([A-Z_]+);[^;]*$')
    if state == false and find(rest, '!', 1, true) then
      -- A heartbeat that names no gateway leaves the connection with its current gateway.
      local claim = match(rest, ';[^; ]*$')
      if claim and sub(claim, 1, #lease + 1) == lease .. '!' then
        state = rest == claim and 'ONLINE' or match(rest, '^ ([A-Z_]+);[^;]*$')
      end
    end
  end
  local record = false
  if state then
    record = '{"last_seen":' .. now_text .. ',"version":' .. sub(past, VERSION, REST - 1)
      .. ',"connection_count":1,"state":"' .. state .. '"}'
    record = call('SET', record_key, record, 'XX', 'PXAT', expires_text) and record
  elseif state == nil then
    local playing, duration, start = match(past, '^ ([A-Z_]+) expired (%d+) (){', REST)
    -- An activity contains no semicolon: the first one after a brace begins the leases.
    local stop = duration == ttl_text and find(past, '};', start, true)
    local leases = stop and sub(past, stop + 1)
    if leases == lease or leases and sub(leases, 1, #lease + 1) == lease .. '!' and not find(leases, '[; ]', 2) then
      local head = '{"last_seen":' .. now_text .. ',"version":' .. sub(past, VERSION, REST - 1)
        .. ',"connection_count":1,"state":"' .. playing .. '","activity":'
      record = call('SET', record_key, head .. 'true}', 'XX', 'PXAT', expires_text)
        and head .. sub(past, start, stop) .. '}'
    end
  end
  records[entry] = record
  if record then
    call('SETRANGE', past_key, '0', now_text)
  else
    others = others or {}
    others[#others + 1] = entry
  end
end

-- Players with several devices. While all their leases count, one is renewed in full, the elapsed time is subtracted
-- from the others, and nothing else changes. The past is read again, as an earlier entry may belong to the same player.
if others then
  local whole = tonumber(ttl_text)

  -- Returns the record, or false if this case does not apply; nothing has changed then.
  local function renew_among(entry)
    local first = keys_each * (entry - 1)
    local record_key, past_key = KEYS[first + 1], KEYS[first + 2]
    local past, connection = redis.pcall('GET', past_key), ARGV[before_ids + entry]
    past = past and not past.err and past or ''
    local last_seen, version, state, leases = match(past, '^(%d+) (%d+) ?([A-Z_]*)(;.*)$')
    local activity
    if not version then
      local duration, start
      last_seen, version, state, duration, start = match(past, '^(%d+) (%d+) ([A-Z_]+) expired (%d+) (){')
      local stop = duration == ttl_text and find(past, '};', start, true)
      if not stop then
        return false
      end
      activity, leases = sub(past, start, stop), sub(past, stop + 1)
    end
    local elapsed, is_known = now_text - last_seen, false
    local owned = connection .. '!'
    local durations, texts = {}, {}
    for id, duration in string.gmatch(leases, ';([^; ]+) ?(%d*)') do
      local left = (tonumber(duration) or whole) - elapsed
      if left < 0 then -- a lease counts through the millisecond of its expiry
        return false
      elseif id == connection or sub(id, 1, #owned) == owned then
        left, is_known = whole, true
      elseif left > whole then -- the clock was set back
        left = whole
      end
      durations[#durations + 1] = left
      texts[#texts + 1] = left == whole and ';' .. id or ';' .. id .. ' ' .. left
    end
    local head = '{"last_seen":' .. now_text .. ',"version":' .. version
      .. ',"connection_count":' .. #durations .. ',"state":"' .. (state == '' and 'ONLINE' or state)
      .. '","leases":[' .. table.concat(durations, ',') .. ']'
    local record = head .. (activity and ',"activity":true}' or '}')
    if not (is_known and call('SET', record_key, record, 'XX', 'PXAT', expires_text)) then
      return false
    end
    call('SET', past_key, now_text .. sub(past, #last_seen + 1, #past - #leases) .. table.concat(texts))
    return activity and head .. ',"activity":' .. activity .. '}' or record
  end

  for _, entry in ipairs(others) do
    records[entry] = renew_among(entry)
    if not records[entry] then
      unknown = unknown or {}
      unknown[#unknown + 1] = entry
    end
  end
end
