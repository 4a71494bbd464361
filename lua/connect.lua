-- Opens connections: each gets a lease, or has it renewed. The first one makes an OFFLINE player ONLINE.
-- KEYS: record, past, closed of entry 1, of entry 2, …; the expiry index; the owners; the outbox, if there is one
-- ARGV: [1] ttl (ms), [2] the terms (lib/call.lua), [3…] connection_id of each entry, followed by `!` and
--       gateway_id if the call names a gateway
-- Returns: see lib/reply.lua; per entry A renewed, R new, C closed before, F failed

-- @include call
-- @include clock
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
  outcomes[entry], player = renew_lease(entry, ARGV[2 + entry], 'connect')
end
return reply(outcomes, player)
