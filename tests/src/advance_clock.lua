-- Test helper: subtracts ARGV[1] ms from all times in Redis. Versions do not change, and neither do the durations after
-- `last_seen`.
local elapsed = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function shift(digits)
  return string.format('%.0f', tonumber(digits) - elapsed)
end

local function shift_string(key)
  local value = redis.call('GET', key)
  value = string.gsub(value, '("last_seen":)(%d+)', function(name, digits) return name .. shift(digits) end)
  value = string.gsub(value, '^(%d+) ', function(last_seen) return shift(last_seen) .. ' ' end)
  redis.call('SET', key, value, 'KEEPTTL')
end

-- The scores of owners are not times.
local function shift_sorted_set(key)
  if string.find(key, ':owners$') then
    return
  end
  for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    redis.call('ZINCRBY', key, -elapsed, member)
    -- The members of the index of ending gateways contain a time.
    local head, before, tail = string.match(member, '^([^!]+!)(%d+)(![^!]+!%d+)$')
    if before then
      local score = redis.call('ZSCORE', key, member)
      redis.call('ZREM', key, member)
      redis.call('ZADD', key, score, head .. shift(before) .. tail)
    end
  end
end

-- All numbers in a hash are times.
local function shift_hash(key)
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    redis.call('HSET', key, fields[i], shift(fields[i + 1]))
  end
end

for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'string' then
    shift_string(key)
  elseif kind == 'zset' then
    shift_sorted_set(key)
  elseif kind == 'hash' then
    shift_hash(key)
  end
  local expires_at = redis.call('PEXPIRETIME', key)
  if expires_at >= 0 then
    redis.call('PEXPIREAT', key, math.max(expires_at - elapsed, 1))
  end
end
