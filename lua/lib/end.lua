-- How a player goes on after a lease has ended: what disconnect and the end of a gateway have in common.
-- Needs now, the player. Defines settle.

local function longest_lease(player)
  local longest = 0
  for _, lease in ipairs(player.leases) do
    longest = math.max(longest, lease.expiry)
  end
  return longest
end

-- Stores a player one of whose leases was removed. Without any lease left the player goes OFFLINE for `reason`, or keeps
-- the record for the grace (ms), if it is not 0.
local function settle(player, reason, grace)
  if #player.leases > 0 then
    store_player(player, longest_lease(player), 'expired')
  elseif grace > 0 then
    store_player(player, now + grace, 'lost')
  else
    go_offline(player, reason, now)
  end
end
