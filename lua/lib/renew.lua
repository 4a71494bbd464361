-- Opens or renews a lease: what connect and heartbeat have in common.

-- Makes room for one more lease by closing those that run out first.
local function evict(player)
  while #player.leases >= max_connections do
    local first = 1
    for i, lease in ipairs(player.leases) do
      if lease.expiry < player.leases[first].expiry then
        first = i
      end
    end
    close_connection(player, player.leases[first].id)
    table.remove(player.leases, first)
  end
end

-- Returns 'A' (accepted: the lease was known), 'R' (restored, or new) or 'C' (closed: nothing changed).
local function renew_lease(player, connection, reason)
  if is_closed(player, connection) then
    return 'C'
  end
  local known = find_lease(player, connection)
  if known then
    player.leases[known].expiry = now + ttl
  else
    evict(player)
    player.leases[#player.leases + 1] = { id = connection, expiry = now + ttl }
  end
  player.last_seen = now
  if player.state == 'OFFLINE' then
    go_to(player, 'ONLINE', reason)
  end
  store_player(player, now + ttl, 'expired')
  return known and 'A' or 'R'
end
