-- Sets a player's state, activity, or both. Only a player that is not OFFLINE may queue, play or have an activity;
-- OFFLINE signs the player out.
-- KEYS[1], KEYS[2], KEYS[3]: record, past and tombstones of the player
-- KEYS[4]: the expiry index
-- KEYS[5]: the owners
-- KEYS[6]: the outbox; left out if events are off
-- ARGV[1]: ttl (ms)
-- ARGV[2]: the call context, see lib/call.lua
-- ARGV[3]: state; empty to keep it
-- ARGV[4]: JSON of the activity; `null` to remove it; left out to keep it
-- Returns: see lib/reply.lua; the outcome is A (accepted), X (rejected) or F (failed)

-- @include call
-- @include clock
-- @include types
-- @include formats
-- @include codec
-- @include events
-- @include owners
-- @include player
-- @include closed
-- @include reply

local state, activity = ARGV[3], ARGV[4]
local removes_activity = activity == 'null'
local sets_activity = activity and not removes_activity

-- Returns the ids of all connections of the player, also of those whose leases do not count: none may bring the player
-- back.
local function connections(player)
  local ids = {}
  for _, leases in ipairs({ player.leases, player.not_counting }) do
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
  player.not_counting = {}
  expire_if_due(player)
  if player.state ~= 'OFFLINE' then
    player.last_seen = now
    go_offline(player, 'signed_out', now)
  end
  return 'A'
end

-- Returns whether the activity has changed.
local function replace_activity(player)
  local before = player.activity
  if sets_activity then
    player.activity = activity
  elseif removes_activity then
    player.activity = nil
  end
  return player.activity ~= before
end

local function set(player)
  expire_if_due(player)
  local is_offline = player.state == 'OFFLINE'
  if is_offline and (sets_activity or state == 'IN_QUEUE' or state == 'IN_MATCH') then
    return 'X'
  elseif is_offline and state == '' then
    return 'A' -- no activity to remove
  end
  local has_new_activity = replace_activity(player)
  -- Setting a state renews nothing: the record keeps its expiry, or expires after one TTL if it is new.
  local expires_at = not is_offline and player.expires_at or now + ttl
  player.last_seen = now
  if state ~= '' and player.state ~= state then
    go_to(player, state, 'set_state')
  elseif has_new_activity then
    go_to(player, player.state, 'set_activity')
  end
  store_player(player, expires_at, player.reason)
  return 'A'
end

local player = load_player(1)
if not player or is_record_malformed(player) then
  return reply({ 'F' })
elseif state == 'OFFLINE' then
  return reply({ sign_out(player) }, player)
end
return reply({ set(player) }, player)
