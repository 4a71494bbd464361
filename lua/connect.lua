-- Opens connections: each gets a lease, or has its lease renewed. The first connection makes an OFFLINE player ONLINE.
-- KEYS[3i-2], KEYS[3i-1], KEYS[3i]: record, past and tombstones of entry i, for i from 1 to n
-- KEYS[3n+1]: the expiry index
-- KEYS[3n+2]: the owners
-- KEYS[3n+3]: the outbox; left out if events are off
-- ARGV[1]: ttl (ms)
-- ARGV[2]: the call context, see lib/call.lua
-- ARGV[2+i]: connection_id of entry i, followed by `!` and gateway_id if the call names a gateway
-- Returns: see lib/reply.lua; the outcome of an entry is A (renewed), R (new), C (closed before) or F (failed)

-- @include call
-- @include clock
-- @include types
-- @include formats
-- @include codec
-- @include events
-- @include owners
-- @include player
-- @include closed
-- @include renew
-- @include reply

local outcomes, player = {}, nil
for entry = 1, entries do
  outcomes[entry], player = renew_lease(entry, ARGV[2 + entry], 'connect')
end
return reply(outcomes, player)
