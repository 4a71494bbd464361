-- Renews leases. A lease that the record does not hold, and that was not closed, is restored.
-- KEYS: see lib/call.lua
-- ARGV: …, max_connections, then player_id, connection_id of each entry
-- Returns: see lib/reply.lua

-- @include call
-- @include clock

-- The common case comes first and does not take the record apart: where the lease is known and none of the player's
-- leases has run out, the times are patched where they stand (lib/record.lua, lib/past.lua). The index keeps its
-- earlier time. What follows the loop is not even defined unless an entry needs it.
local call, find, sub, byte = redis.call, string.find, string.sub, string.byte
local now_text, expiry_text = now .. '', now + ttl .. ''
local LAST_SEEN_END = #'{"last_seen":0000000000000'
local HEADER_END = #'{"last_seen":0000000000000,"version":0000000000000,"connection_count":'

local function has_run_out(json)
  for expiry in string.gmatch(sub(json, HEADER_END + 1), '":(%d+)') do
    if expiry <= now_text then
      return true
    end
  end
  return false
end

-- Returns the patched record, or nil where the long way is due.
local function patch(record, past, connection)
  local json = call('GET', record)
  local _, lease = find(json or '', '"' .. connection .. '":', HEADER_END, true)
  if not lease then
    return nil
  end
  local digit = byte(json, lease + 1)
  if digit < 48 or digit > 57 then
    return nil -- a member of the record that happens to have the connection's name
  end
  local one, comma = byte(json, HEADER_END + 1, HEADER_END + 2)
  local is_only = one == 49 and comma == 44
  if is_only and sub(json, lease + 1, lease + 13) <= now_text or not is_only and has_run_out(json) then
    return nil
  end
  if call('SETRANGE', past, 0, now_text .. ' ' .. expiry_text) <= #'0000000000000 0000000000000' then
    return nil -- there was no past to patch
  end
  json = '{"last_seen":' .. now_text .. sub(json, LAST_SEEN_END + 1, lease) .. expiry_text .. sub(json, lease + 14)
  call('SET', record, json, 'PXAT', expiry_text)
  return json
end

local outcomes, json, patched = {}, nil, 0
for entry = 1, entries do
  json = patch(KEYS[3 * entry - 2], KEYS[3 * entry - 1], ARGV[5 + 2 * entry])
  if json then
    outcomes[entry], patched = 'A', patched + 1
  end
end
if patched == entries then
  return { table.concat(outcomes), json }
end

local max_connections = tonumber(ARGV[5])
-- @include record
-- @include past
-- @include events
-- @include player
-- @include closed
-- @include renew
-- @include reply

local player
for entry = 1, entries do
  if not outcomes[entry] then
    player = load_player(entry, ARGV[4 + 2 * entry])
    outcomes[entry] = renew_lease(player, ARGV[5 + 2 * entry], 'restore')
  end
end
return reply(outcomes, player)
