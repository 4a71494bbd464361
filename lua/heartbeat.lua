-- Renews leases, for heartbeats that renew_known.lua did not renew. A lease that the player does not hold, and whose
-- connection was not closed, is restored.
-- KEYS[3i-2], KEYS[3i-1], KEYS[3i]: record, past and tombstones of entry i, for i from 1 to n
-- KEYS[3n+1]: the expiry index
-- KEYS[3n+2]: the owners
-- KEYS[3n+3]: the outbox; left out if events are off
-- ARGV[1]: ttl (ms)
-- ARGV[2]: the call context, see lib/call.lua
-- ARGV[2+i]: connection_id of entry i, followed by `!` and gateway_id if the call names a gateway
-- Returns: see lib/reply.lua; the outcome of an entry is A (renewed), R (restored), C (closed before) or F (failed)

-- @include call
-- @include clock
-- @include types
-- @include record
-- @include past
-- @include events
-- @include owners
-- @include player
-- @include closed
-- @include reply
-- @include renew

return renew_leases('restore')
