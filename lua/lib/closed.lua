-- Tombstones: closed connections stay closed for twice the TTL. A sorted set of connection ids, scored by the Unix ms
-- through which each is remembered.
-- Needs now, ttl, try (lib/types.lua). Defines close_connections, is_closed.

-- Maximum number of forgotten tombstones that are removed per new one: the work of a call stays bounded, and forgotten
-- tombstones cannot accumulate.
local FORGOTTEN_PER_CLOSE = 2

-- Maximum number of connections per command, as `unpack` has a limit.
local CLOSED_PER_COMMAND = 500

local function close_some(key, connections, from, to)
  local forget_at = now + 2 * ttl
  local limit = FORGOTTEN_PER_CLOSE * (to - from + 1)
  local forgotten, is_wrong_type = try('ZRANGE', key, '-inf', '(' .. now, 'BYSCORE', 'LIMIT', 0, limit)
  if is_wrong_type then
    return false
  end
  if #forgotten > 0 then
    redis.call('ZREM', key, unpack(forgotten))
  end
  local members = {}
  for i = from, to do
    members[#members + 1] = forget_at
    members[#members + 1] = connections[i]
  end
  -- GT: if the clock was set back, no tombstone is forgotten earlier than promised before.
  redis.call('ZADD', key, 'GT', unpack(members))
  if redis.call('PEXPIREAT', key, forget_at, 'GT') == 0 then
    redis.call('PEXPIREAT', key, forget_at, 'NX')
  end
  return true
end

-- Returns false, having changed nothing, if the key is of another type.
local function close_connections(player, connections)
  for from = 1, #connections, CLOSED_PER_COMMAND do
    if not close_some(player.closed, connections, from, math.min(from + CLOSED_PER_COMMAND - 1, #connections)) then
      return false
    end
  end
  return true
end

-- Returns nil if the key is of another type.
local function is_closed(player, connection)
  local forget_at, is_wrong_type = try('ZSCORE', player.closed, connection)
  if is_wrong_type then
    return nil
  end
  return forget_at and tonumber(forget_at) >= now or false
end
