-- Sets a player's state. Only a player who is not OFFLINE may queue or play; OFFLINE signs the player out.
-- KEYS: record, past, closed of the player; the expiry index; the outbox, if there is one
-- ARGV: [1] ttl (ms), [2] the terms (lib/call.lua), [3] state
-- Returns: see lib/reply.lua; A accepted, X rejected, F failed

-- @include call
-- @include clock
-- @include types
-- @include record
-- @include past
-- @include events
-- @include player
-- @include closed
-- @include reply

local state = ARGV[3]

-- All connections of the player, also those whose leases have lapsed: none of them may bring the player back.
local function connections(player)
  local ids = {}
  for _, leases in ipairs({ player.leases, player.lapsed }) do
    for _, lease in ipairs(leases) do
      ids[#ids + 1] = lease.id
    end
  end
  return ids
end

local function sign_out(player)
  if not close_connections(player, connections(player)) then
    return 'F'
  end
  player.lapsed = {}
  expire_if_due(player)
  if player.state ~= 'OFFLINE' then
    player.last_seen = now
    go_offline(player, 'signed_out', now)
  end
  return 'A'
end

local function set(player)
  expire_if_due(player)
  if player.state == 'OFFLINE' and (state == 'IN_QUEUE' or state == 'IN_MATCH') then
    return 'X'
  end
  -- A state that is set renews nothing: the record expires when it would have, or after one TTL if it is new.
  local expires_at = player.state ~= 'OFFLINE' and player.expires_at or now + ttl
  player.last_seen = now
  if player.state ~= state then
    go_to(player, state, 'set_state')
  end
  store_player(player, expires_at, player.reason)
  return 'A'
end

local player = load_player(1)
if not player or is_unknown(player) then
  return reply({ 'F' })
elseif state == 'OFFLINE' then
  return reply({ sign_out(player) }, player)
end
return reply({ set(player) }, player)
