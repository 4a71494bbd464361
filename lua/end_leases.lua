-- Ends the leases of a gateway's connections: the gateway is lost, or leaves. Ended is not closed: a later heartbeat restores
-- the connection. A lease that was renewed after `before` stays, since the gateway is back. So does one that belongs to
-- another gateway by now.
-- KEYS: record, past, closed of entry 1, of entry 2, …; the expiry index; the owners; the outbox, if there is one
-- ARGV: [1] ttl (ms), [2] the terms (lib/call.lua), [3] gateway_id, [4] before (Unix ms), [5] reason of the OFFLINE
--       transition (`disconnect` or `lost`), [6] grace (ms, 0 for none), [7…] connection_id of each entry
-- Returns: see lib/reply.lua; per entry E ended here, A renewed since, X not the gateway's, F failed

-- @include call
-- @include clock
-- @include types
-- @include record
-- @include past
-- @include events
-- @include owners
-- @include player
-- @include end
-- @include reply

local gateway, before, reason, grace = ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])

-- Returns the outcome.
local function end_lease(entry, connection)
  local player = load_player(entry)
  if not player or is_unknown(player) then
    return 'F'
  end
  expire_if_due(player)
  local place = find_lease(player.leases, connection)
  local lease = player.leases[place]
  if not lease or lease.gateway ~= gateway then
    -- The index is not in step with the past.
    try('ZREM', owners, member_of(player, { id = connection, gateway = gateway }))
    return 'X'
  elseif lease.expiry - ttl > before then
    return 'A'
  end
  table.remove(player.leases, place)
  -- A sign-out closes it all the same.
  player.lapsed[#player.lapsed + 1] = lease
  settle(player, reason, grace)
  return 'E'
end

local outcomes = {}
for entry = 1, entries do
  outcomes[entry] = end_lease(entry, ARGV[6 + entry])
end
return reply(outcomes)
