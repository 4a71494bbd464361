-- Closes connections. The last one to go makes the player OFFLINE, at once or after the grace.
-- KEYS: see lib/call.lua
-- ARGV: …, reason of the OFFLINE transition (`disconnect` or `lost`), grace (ms, 0 for none), then connection_id of each
--       entry
-- Returns: see lib/reply.lua

-- @include call
-- @include clock
local reason, grace = ARGV[3], tonumber(ARGV[4])
-- @include record
-- @include past
-- @include events
-- @include player
-- @include closed
-- @include reply

local function longest_lease(player)
  local longest = 0
  for _, lease in ipairs(player.leases) do
    longest = math.max(longest, lease.expiry)
  end
  return longest
end

local function close(player, connection)
  close_connection(player, connection)
  local known = find_lease(player, connection)
  if not known then
    return
  end
  table.remove(player.leases, known)
  player.last_seen = now
  if #player.leases > 0 then
    store_player(player, longest_lease(player), 'expired')
  elseif grace > 0 then
    store_player(player, now + grace, 'lost')
  else
    go_offline(player, reason, now)
  end
end

local outcomes, player = {}, nil
for entry = 1, entries do
  player = load_player(entry)
  close(player, ARGV[4 + entry])
  outcomes[entry] = 'A'
end
return reply(outcomes, player)
