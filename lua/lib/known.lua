-- The renewal fast path: renews known leases without loading the player, which is all that nearly every heartbeat
-- needs.
-- Needs keys_each, the number of keys per entry, of which record and past come first; and before_ids, the number of
-- arguments before the connection ids. ARGV[1] is the ttl (ms).
-- Defines entries; now_text, the one reading of the clock in this call (Unix ms); records: for each entry the record, or
-- false if its lease is unknown; if any renewed player has an activity, then for each entry the past if its player has
-- one, or false. And unknown, the list of entries with an unknown lease, or nil.

-- The common case comes first and decodes nothing. If the lease is the player's only one and was renewed by the last
-- call, only the 13 digits of `last_seen` change in the past, and the record follows from the past (lib/formats.lua).
-- The past of a player that is not OFFLINE contains no closed connection, and that of an OFFLINE player does not match,
-- so neither path below can renew one. The index keeps its earlier time. Code for rarer cases is not even defined until
-- an entry needs it. Numbers stay strings: converting them is most of this script's cost. '%d' prints a number faster
-- than '..' does.
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
-- activity before anything else. Each Lua string costs some 10 instructions per byte, each step of a pattern some 20: a
-- long activity is not copied, so the reply contains the past that was read, and no pattern walks over it.
local LONG = 160

local records, others, pasts, unknown = { false }, nil, nil, nil
local has_activities = false
for entry = 1, entries do
  local first = keys_each * (entry - 1)
  local record_key, past_key = KEYS[first + 1], KEYS[first + 2]
  local past = redis.pcall('GET', past_key)
  local lease = ';' .. ARGV[before_ids + entry]
  local state, brace = false, false
  -- An error means a key of another type, which must not fail the call for the other players.
  if past and not past.err then
    brace = #past >= LONG and find(past, '{', REST, true)
    if not brace then
      local rest = sub(past, REST)
      state = rest == lease and 'ONLINE' or sub(rest, -#lease) == lease and match(rest, '^ ([A-Z_]+);[^;]*$')
      if state == false and find(rest, '!', 1, true) then
        -- A heartbeat that names no gateway leaves the connection with its current gateway.
        local claim = match(rest, ';[^; ]*$')
        if claim and sub(claim, 1, #lease + 1) == lease .. '!' then
          state = rest == claim and 'ONLINE' or match(rest, '^ ([A-Z_]+);[^;]*$')
        end
      end
      brace = state == nil and find(past, '{', REST, true)
    end
  end
  if brace then
    state = match(past, '^ ([A-Z_]+) expired ' .. ttl_text .. ' {', REST)
    -- An activity contains no semicolon: the first one after a brace begins the leases.
    local stop = state and find(past, '};', brace, true)
    local leases = stop and sub(past, stop + 1)
    if leases ~= lease
      and not (leases and sub(leases, 1, #lease + 1) == lease .. '!' and not find(leases, '[; ]', 2)) then
      state = false
    end
  end
  local record = false
  if state then
    record = '{"last_seen":' .. now_text .. ',"version":' .. sub(past, VERSION, REST - 1)
      .. ',"connection_count":1,"state":"' .. state .. (brace and '","activity":true}' or '"}')
    record = call('SET', record_key, record, 'XX', 'PXAT', expires_text) and record
  end
  records[entry] = record
  if record then
    call('SETRANGE', past_key, '0', now_text)
    if brace then
      has_activities, records[entries + entry] = true, past
    end
  else
    others, pasts = others or {}, pasts or {}
    others[#others + 1] = entry
    pasts[past_key] = past
  end
end

-- Players with several devices, or whose record does not expire with a full lease, as after a change of the state. While
-- all their leases count, one is renewed in full, the elapsed time is subtracted from the others, and nothing else
-- changes. The past is read again if an earlier entry belongs to the same player.
if others then
-- @include formats
  local whole = tonumber(ttl_text)

  -- Returns the record, and the past if it contains an activity; or false if this case does not apply: nothing has
  -- changed then.
  local function renew_among(entry)
    local first = keys_each * (entry - 1)
    local record_key, past_key = KEYS[first + 1], KEYS[first + 2]
    local past, connection = pasts[past_key] or redis.pcall('GET', past_key), ARGV[before_ids + entry]
    past = past and not past.err and past or ''
    local brace = find(past, '{', 1, true)
    local last_seen, version, state, duration, leases
    if brace then
      local stop = find(past, '};', brace, true)
      last_seen, version, state, duration = match(past, '^(%d+) (%d+) ([A-Z_]+) expired (%d+) {')
      leases = version and stop and sub(past, stop + 1)
    else
      last_seen, version, state, duration, leases = match(past, '^(%d+) (%d+) ?([A-Z_]*) ?(%d*)();')
      leases = leases and sub(past, leases)
    end
    if not leases then
      return false
    end
    local elapsed, is_known = now_text - last_seen, false
    local owned = connection .. '!'
    local durations, texts = {}, {}
    for id, duration in string.gmatch(leases, LEASE) do
      local left = (tonumber(duration) or whole) - elapsed
      if left < 0 then -- a lease counts through the millisecond of its expiry
        return false
      elseif id == connection or sub(id, 1, #owned) == owned then
        left, is_known = whole, true
      elseif left > whole then -- the clock was set back
        left = whole
      end
      local left_text = left == whole and ttl_text or string.format('%d', left)
      durations[#durations + 1] = left_text
      texts[#texts + 1] = left == whole and ';' .. id or ';' .. id .. ' ' .. left_text
    end
    local count = string.format('%d', #durations)
    local several = #durations > 1 and table.concat(durations, ',')
    local record = record_text(now_text, version, count, state == '' and 'ONLINE' or state, several, brace)
    if not (is_known and call('SET', record_key, record, 'XX', 'PXAT', expires_text)) then
      return false
    end
    pasts[past_key] = nil
    local renewed = table.concat(texts)
    if #past >= LONG and duration == ttl_text and #renewed == #leases and #last_seen == #now_text then
      -- The past has an activity, and all that changes has the same length: another command costs less than a copy.
      call('SETRANGE', past_key, '0', now_text)
      call('SETRANGE', past_key, #past - #leases, renewed)
    else
      local activity = brace and ' expired ' .. ttl_text .. ' ' .. sub(past, brace, #past - #leases) or ''
      call('SET', past_key, now_text .. ' ' .. version .. (state == '' and '' or ' ' .. state) .. activity .. renewed)
    end
    return record, brace and past
  end

  for _, entry in ipairs(others) do
    local record, past = renew_among(entry)
    records[entry] = record
    if past then
      has_activities, records[entries + entry] = true, past
    end
    if not record then
      unknown = unknown or {}
      unknown[#unknown + 1] = entry
    end
  end
end

if has_activities then
  for entry = entries + 1, 2 * entries do
    records[entry] = records[entry] or false
  end
end
