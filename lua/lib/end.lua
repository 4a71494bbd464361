-- A player after one of its leases has ended: shared by disconnect.lua and end_leases.lua.
-- Needs now, store_player, go_offline (lib/player.lua). Defines settle.

local function longest_lease(player)
  local longest = 0
  for _, lease in ipairs(player.leases) do
    longest = math.max(longest, lease.expires_at)
  end
  return longest
end

-- Stores a player after a lease was removed. A player without any lease left goes OFFLINE with `reason`; if there is a
-- grace (ms), the player keeps the record for that time and then goes OFFLINE with the reason `lost`.
local function settle(player, reason, grace)
  if #player.leases > 0 then
    store_player(player, longest_lease(player), 'expired')
  elseif grace > 0 then
    store_player(player, now + grace, 'lost')
  else
    go_offline(player, reason, now)
  end
end
