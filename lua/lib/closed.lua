-- Closed connections stay closed for twice the TTL: a sorted set of connection ids by the time they are forgotten.

local function close_connection(player, connection)
  local forget_at = now + 2 * ttl
  redis.call('ZREMRANGEBYSCORE', player.closed, '-inf', '(' .. now)
  redis.call('ZADD', player.closed, forget_at, connection)
  redis.call('PEXPIREAT', player.closed, forget_at)
end

local function is_closed(player, connection)
  local forget_at = redis.call('ZSCORE', player.closed, connection)
  return forget_at and tonumber(forget_at) >= now
end
