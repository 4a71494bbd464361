-- Closes connections. When the last one is closed, the player goes OFFLINE, at once or after the grace.
-- KEYS[3i-2], KEYS[3i-1], KEYS[3i]: record, past and tombstones of entry i, for i from 1 to n
-- KEYS[3n+1]: the expiry index
-- KEYS[3n+2]: the owners
-- KEYS[3n+3]: the outbox; left out if events are off
-- ARGV[1]: ttl (ms)
-- ARGV[2]: the call context, see lib/call.lua
-- ARGV[3]: reason of the OFFLINE transition, `disconnect` or `lost`
-- ARGV[4]: grace (ms), 0 for none
-- ARGV[4+i]: connection_id of entry i
-- Returns: see lib/reply.lua; the outcome of an entry is A (closed) or F (failed)

-- @include call
-- @include clock
-- @include types
-- @include formats
-- @include codec
-- @include events
-- @include owners
-- @include player
-- @include closed
-- @include end
-- @include reply

local reason, grace = ARGV[3], tonumber(ARGV[4])

-- Removes a lease that no longer counts from the stored text, so that nothing can renew it later. Otherwise such a
-- lease is treated as unknown: nothing else changes.
local function remove_not_counting(player, connection)
  local position = find_lease(player.not_counting, connection)
  if position and player.state ~= 'OFFLINE' then
    table.remove(player.not_counting, position)
    store_player(player, player.expires_at, player.reason)
  end
end

local function remove(player, position)
  table.remove(player.leases, position)
  player.last_seen = now
  settle(player, reason, grace)
end

-- Returns the outcome, and the player.
local function close(entry, connection)
  local player = load_player(entry)
  if not player or is_record_malformed(player) or not close_connections(player, { connection }) then
    return 'F'
  end
  expire_if_due(player)
  local position = find_lease(player.leases, connection)
  if position then
    remove(player, position)
  else
    remove_not_counting(player, connection)
  end
  return 'A', player
end

local outcomes, player = {}, nil
for entry = 1, entries do
  outcomes[entry], player = close(entry, ARGV[4 + entry])
end
return reply(outcomes, player)
