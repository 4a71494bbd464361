-- Closes connections. The last one to go makes the player OFFLINE, at once or after the grace.
-- KEYS: record, past, closed of entry 1, of entry 2, …; the expiry index; the owners; the outbox, if there is one
-- ARGV: [1] ttl (ms), [2] the terms (lib/call.lua), [3] reason of the OFFLINE transition (`disconnect` or `lost`),
--       [4] grace (ms, 0 for none), [5…] connection_id of each entry
-- Returns: see lib/reply.lua; per entry A closed, F failed

-- @include call
-- @include clock
-- @include types
-- @include record
-- @include past
-- @include events
-- @include owners
-- @include player
-- @include closed
-- @include end
-- @include reply

local reason, grace = ARGV[3], tonumber(ARGV[4])

-- A lease that has lapsed leaves the stored text as well: nothing may renew it later. It is unknown otherwise, so all else
-- stays as it is.
local function remove_lapsed(player, connection)
  local lapsed = find_lease(player.lapsed, connection)
  if lapsed and player.state ~= 'OFFLINE' then
    table.remove(player.lapsed, lapsed)
    store_player(player, player.expires_at, player.reason)
  end
end

local function remove(player, known)
  table.remove(player.leases, known)
  player.last_seen = now
  settle(player, reason, grace)
end

-- Returns the outcome, and the player.
local function close(entry, connection)
  local player = load_player(entry)
  if not player or is_unknown(player) or not close_connections(player, { connection }) then
    return 'F'
  end
  expire_if_due(player)
  local known = find_lease(player.leases, connection)
  if known then
    remove(player, known)
  else
    remove_lapsed(player, connection)
  end
  return 'A', player
end

local outcomes, player = {}, nil
for entry = 1, entries do
  outcomes[entry], player = close(entry, ARGV[4 + entry])
end
return reply(outcomes, player)
