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

local records, others, unknown = { false }, nil, nil
for entry = 1, entries do
  local first = keys_each * (entry - 1)
  local record_key, past_key = KEYS[first + 1], KEYS[first + 2]
  local past = redis.pcall('GET', past_key)
  -- An error means a key of another type, which must not fail the call for the other players.
  local rest = past and not past.err and sub(past, REST)
  local lease = ';' .. ARGV[before_ids + entry]
  local state = rest == lease and 'ONLINE'
    or rest and sub(rest, -#lease) == lease and match(rest, '^ ([A-Z_]+);[^;]*$')
  if state == false and rest and find(rest, '!', 1, true) then
    -- A heartbeat that names no gateway leaves the connection with its current gateway.
    local claim = match(rest, ';[^; ]*$')
    if claim and sub(claim, 1, #lease + 1) == lease .. '!' then
      state = rest == claim and 'ONLINE' or match(rest, '^ ([A-Z_]+);[^;]*$')
    end
  end
  local record = false
  if state then
    record = '{"last_seen":' .. now_text .. ',"version":' .. sub(past, VERSION, REST - 1)
      .. ',"connection_count":1,"state":"' .. state .. '"}'
    record = call('SET', record_key, record, 'XX', 'PXAT', expires_text) and record
  elseif state == nil then -- the past ends with the lease, but in another form: check for an activity
    local playing, duration, activity = match(rest, '^ ([A-Z_]+) expired (%d+) ({[^;]*});[^;]*$')
    if duration == ttl_text then
      local head = '{"last_seen":' .. now_text .. ',"version":' .. sub(past, VERSION, REST - 1)
        .. ',"connection_count":1,"state":"' .. playing .. '","activity":'
      record = call('SET', record_key, head .. 'true}', 'XX', 'PXAT', expires_text) and head .. activity .. '}'
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
      local duration
      last_seen, version, state, duration, activity, leases =
        match(past, '^(%d+) (%d+) ([A-Z_]+) expired (%d+) ({[^;]*})(;.*)$')
      if duration ~= ttl_text then
        return false
      end
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
