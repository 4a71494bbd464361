-- Opens connections: each gets a lease, or has it renewed. The first one makes an OFFLINE player ONLINE.
-- KEYS: see lib/call.lua
-- ARGV: …, max_connections, then player_id, connection_id of each entry
-- Returns: see lib/reply.lua

-- @include call
-- @include clock
local max_connections = tonumber(ARGV[5])
-- @include record
-- @include past
-- @include events
-- @include player
-- @include closed
-- @include renew
-- @include reply

local outcomes, player = {}, nil
for entry = 1, entries do
  player = load_player(entry, ARGV[4 + 2 * entry])
  outcomes[entry] = renew_lease(player, ARGV[5 + 2 * entry], 'connect')
end
return reply(outcomes, player)
