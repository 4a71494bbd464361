-- Renews leases. A lease that the record does not hold, and that was not closed, is restored.
-- KEYS: see lib/call.lua
-- ARGV: …, max_connections, then player_id, connection_id of each entry
-- Returns: see lib/reply.lua

-- The common case comes first and does not take the record apart: where the lease is known, is the player's only one,
-- and was renewed by the last call, all of the record and of the past stays but the 13 digits of `last_seen`
-- (lib/record.lua, lib/past.lua). The index keeps its earlier time. No number is made of a text or the other way round,
-- and what follows the loop is not even defined unless an entry needs it: that is most of what a heartbeat costs.
local call, find, sub = redis.call, string.find, string.sub
local entries, ttl_text, time = math.floor(#KEYS / 3), ARGV[1], redis.call('TIME')
local micros = #time[2] == 6 and time[2] or string.format('%06d', time[2])
local now_text = time[1] .. sub(micros, 1, 3)
local HEADER, NEXT_MEMBER = '{"last_seen":', ',"version":'
local NEXT = #HEADER + #now_text + 1

local json, unpatched
for entry = 1, entries do
  local record = KEYS[3 * entry - 2]
  json = redis.pcall('GET', record)
  if json
    and not json.err -- no string: one key of somebody else's shall not fail the call for all its players
    and find(json, '"leases":{"' .. ARGV[5 + 2 * entry] .. '":' .. ttl_text .. '}}', NEXT, true)
    and sub(json, NEXT, NEXT + #NEXT_MEMBER - 1) == NEXT_MEMBER -- nobody wrote it by hand
    and call('SETRANGE', KEYS[3 * entry - 1], 0, now_text) > #now_text -- there was a past to patch
  then
    json = HEADER .. now_text .. sub(json, NEXT)
    call('SET', record, json, 'PX', ttl_text)
  else
    unpatched = unpatched or {}
    unpatched[#unpatched + 1] = entry
  end
end
if not unpatched then
  return { string.rep('A', entries), json }
end

-- @include call
-- @include clock
local max_connections = tonumber(ARGV[5])
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
  player = load_player(entry, ARGV[4 + 2 * entry])
  outcomes[entry] = renew_lease(player, ARGV[5 + 2 * entry], 'restore')
end
return reply(outcomes, player)
