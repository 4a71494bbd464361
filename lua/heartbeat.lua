-- Renews leases: those of a batch, or one that renew_known.lua did not renew. A lease that the player does not hold, and
-- whose connection was not closed, is restored.
-- KEYS[3i-2], KEYS[3i-1], KEYS[3i]: record, past and tombstones of entry i, for i from 1 to n
-- KEYS[3n+1]: the expiry index
-- KEYS[3n+2]: the owners
-- KEYS[3n+3]: the outbox; left out if events are off
-- ARGV[1]: ttl (ms)
-- ARGV[2]: the call context, see lib/call.lua. If several callers share the call, one line follows per further caller:
--          `<number of its first entry> <traceparent> <tracestate>`
-- ARGV[2+i]: connection_id of entry i, followed by `!` and gateway_id if the call names a gateway
-- Returns: an empty string if all leases of several entries were known and there was nothing else to do. Otherwise see
--          lib/reply.lua; the outcome of an entry is A (renewed), R (restored), C (closed before) or F (failed)

local keys_each, before_ids = 3, 2
-- @include known
if not unknown then
  return entries > 1 and '' or { 'A', records[1], records[2] or false }
end

-- @include call
local now = tonumber(now_text) -- the clock is read once per call
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
  outcomes[entry] = 'A'
end
-- Events continue the trace of their caller.
local further_callers = string.gmatch(ARGV[2], '\n(%d+) (%S+) ([^\n]*)')
local first_entry, next_traceparent, next_tracestate = further_callers()
for _, entry in ipairs(unknown) do
  while first_entry and entry >= tonumber(first_entry) do
    traceparent, tracestate = next_traceparent, next_tracestate
    first_entry, next_traceparent, next_tracestate = further_callers()
  end
  outcomes[entry], player = renew_lease(entry, ARGV[before_ids + entry], 'restore')
end
return reply(outcomes, player)
