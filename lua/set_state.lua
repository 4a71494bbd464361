-- Sets a player's state. Only a player who is not OFFLINE may queue or play; OFFLINE signs the player out.
-- KEYS: see lib/call.lua
-- ARGV: …, state
-- Returns: see lib/reply.lua

-- @include call
-- @include clock
local state = ARGV[3]
-- @include record
-- @include past
-- @include events
-- @include player
-- @include closed
-- @include reply

local player = load_player(1)

if player.state == 'OFFLINE' and (state == 'IN_QUEUE' or state == 'IN_MATCH') then
  return reply({ 'X' }, player)
end

if state == 'OFFLINE' then
  if player.state ~= 'OFFLINE' then
    for _, leases in ipairs({ player.leases, player.lapsed }) do
      for _, lease in ipairs(leases) do
        close_connection(player, lease.id)
      end
    end
    player.last_seen = now
    go_offline(player, 'signed_out', now)
  end
  return reply({ 'A' }, player)
end

-- A state that is set renews nothing: the record runs out when it would have, or after one TTL where it is new.
local expires_at = redis.call('PEXPIRETIME', player.record)
if expires_at < now then -- there is no record, or somebody made it stay for ever
  expires_at = now + ttl
end
player.last_seen = now
if player.state ~= state then
  go_to(player, state, 'set_state')
end
store_player(player, expires_at, player.reason)
return reply({ 'A' }, player)
