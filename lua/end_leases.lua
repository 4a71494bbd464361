-- Ends the leases of a gateway's connections, when the gateway is lost or leaves. Ended is not closed: a later
-- heartbeat restores the connection. A lease that was renewed after `before` stays, since the gateway is back. So does
-- a lease that belongs to another gateway by now.
-- KEYS[3i-2], KEYS[3i-1], KEYS[3i]: record, past and tombstones of entry i, for i from 1 to n
-- KEYS[3n+1]: the expiry index
-- KEYS[3n+2]: the owners
-- KEYS[3n+3]: the outbox; left out if events are off
-- ARGV[1]: ttl (ms)
-- ARGV[2]: the call context, see lib/call.lua
-- ARGV[3]: gateway_id
-- ARGV[4]: before (Unix ms)
-- ARGV[5]: reason of the OFFLINE transition, `disconnect` or `lost`
-- ARGV[6]: grace (ms), 0 for none
-- ARGV[6+i]: connection_id of entry i
-- Returns: see lib/reply.lua; the outcome of an entry is E (ended by this call), A (renewed since), X (does not belong
--          to the gateway) or F (failed)

-- @include call
-- @include clock
-- @include types
-- @include formats
-- @include codec
-- @include events
-- @include owners
-- @include player
-- @include end
-- @include reply

local gateway, before, reason, grace = ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])

-- Returns the outcome.
local function end_lease(entry, connection)
  local player = load_player(entry)
  if not player or is_record_malformed(player) then
    return 'F'
  end
  expire_if_due(player)
  local position = find_lease(player.leases, connection)
  local lease = player.leases[position]
  if not lease or lease.gateway ~= gateway then
    -- The owners have a member that the past contradicts: remove it.
    try('ZREM', owners, member_of(player, { id = connection, gateway = gateway }))
    return 'X'
  elseif lease.expires_at - ttl > before then
    return 'A'
  end
  table.remove(player.leases, position)
  -- Keep the id, so that a sign-out still closes the connection: also beside another lease, which may end next.
  player.not_counting[#player.not_counting + 1] = { id = connection, expires_at = lease.expires_at, has_ended = true }
  player.keeps_ended = true
  settle(player, reason, grace)
  return 'E'
end

local outcomes = {}
for entry = 1, entries do
  outcomes[entry] = end_lease(entry, ARGV[6 + entry])
end
return reply(outcomes)
