-- Renews leases. A lease that the player does not hold, and that was not closed, is restored.
-- KEYS: record, past, closed of entry 1, of entry 2, …; the expiry index; the owners; the outbox, if there is one
-- ARGV: [1] ttl (ms), [2] the terms (lib/call.lua), [3…] connection_id of each entry, followed by `!` and
--       gateway_id if the call names a gateway
-- Returns: if all leases were known and nothing else was to be done, the record alone, or of several entries an empty
--          string; else see lib/reply.lua; per entry A renewed, R restored, C closed before, F failed

local keys_each, before_ids = 3, 2
-- @include known
if not unknown then
  return entries == 1 and records[1] or ''
end

-- @include call
local now = tonumber(now_text) -- one call, one time
-- @include types
-- @include record
-- @include past
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
for _, entry in ipairs(unknown) do
  outcomes[entry], player = renew_lease(entry, ARGV[before_ids + entry], 'restore')
end
return reply(outcomes, player)
