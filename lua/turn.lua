-- Gives one of several servers the turn for a pass over all partitions: a pass that another one has just made, or is
-- making, is not made again.
-- KEYS: when the last pass began; when the last pass ended. Both are Unix ms
-- ARGV: [1] the time from the beginning of a pass to that of the next one (ms), [2] the time after which a pass that has
--       not ended is taken to have died with its server (ms)
-- Returns: the time until it is worth asking again (ms), 0 if the turn is the caller's

-- @include clock

-- A key of another type counts as missing: the caller writes it again.
local function read(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and tonumber(string.match(value, '^%d+')) or nil
end

local began, ended = read(KEYS[1]), read(KEYS[2])
-- A pass that began in the future is one of before the clock was set back.
if began and began <= now then
  local has_ended = ended and ended >= began
  local next_at = began + tonumber(has_ended and ARGV[1] or ARGV[2])
  if now < next_at then
    return next_at - now
  end
end
redis.call('SET', KEYS[1], now)
return 0
