-- Opens or renews a lease: shared by connect.lua and heartbeat.lua.
-- Needs ttl, max_connections (lib/call.lua), now (lib/clock.lua), split_claim (lib/codec.lua), lib/player.lua,
-- lib/closed.lua. Defines renew_lease.

-- Makes room for one more lease by closing the connections whose leases expire first; of equal ones, the one opened
-- first.
local function evict(player)
  local evicted = {}
  while #player.leases >= max_connections do
    local first = 1
    for i, lease in ipairs(player.leases) do
      if lease.expires_at < player.leases[first].expires_at then
        first = i
      end
    end
    evicted[#evicted + 1] = table.remove(player.leases, first).id
  end
  close_connections(player, evicted)
end

-- `claim` is `<connection_id>` or `<connection_id>!<gateway_id>`; with a gateway, the connection then belongs to it.
-- Returns the outcome: 'A' (the lease was known), 'R' (restored, or new), 'C' (closed before: the lease was not opened,
-- but an OFFLINE transition that was due was made) or 'F' (failed, a key of another type: nothing changed); and the
-- player.
local function renew_lease(entry, claim, reason)
  local connection, gateway = split_claim(claim)
  local player = load_player(entry)
  local refused = player and is_closed(player, connection)
  if refused == nil then
    return 'F'
  end
  expire_if_due(player)
  if refused then
    return 'C', player
  end
  local position = find_lease(player.leases, connection)
  if position then
    local lease = player.leases[position]
    lease.expires_at = now + ttl
    lease.gateway = gateway or lease.gateway
  else
    evict(player)
    player.leases[#player.leases + 1] = { id = connection, gateway = gateway, expires_at = now + ttl }
  end
  player.last_seen = now
  if player.state == 'OFFLINE' then
    go_to(player, 'ONLINE', reason)
  end
  store_player(player, now + ttl, 'expired')
  return position and 'A' or 'R', player
end
