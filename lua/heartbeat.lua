-- Renews leases. A lease that the player does not hold, and that was not closed, is restored.
-- KEYS: see lib/call.lua
-- ARGV: …, connection_id of each entry
-- Returns: see lib/reply.lua; the last entry's record alone where all leases were known and nothing else was to be done

local keys_each, before_ids = 3, 2
-- @include known
if not unknown then
  return records[entries]
end

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
  outcomes[entry] = 'A'
end
for _, entry in ipairs(unknown) do
  player = load_player(entry)
  outcomes[entry] = renew_lease(player, ARGV[before_ids + entry], 'restore')
end
return reply(outcomes, player)
