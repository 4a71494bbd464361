-- Opens connections: each gets a lease, or has it renewed. The first one makes an OFFLINE player ONLINE.
-- KEYS: see lib/call.lua
-- ARGV: …, connection_id of each entry
-- Returns: see lib/reply.lua

-- @include call
-- @include clock
-- @include record
-- @include past
-- @include events
-- @include player
-- @include closed
-- @include renew
-- @include reply

local outcomes, player = {}, nil
for entry = 1, entries do
  player = load_player(entry)
  outcomes[entry] = renew_lease(player, ARGV[2 + entry], 'connect')
end
return reply(outcomes, player)
