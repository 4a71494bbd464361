-- Gives one of several servers the turn to make a pass over all partitions, unless another server has just made a pass
-- or is making one.
-- KEYS[1]: when the last pass began (Unix ms)
-- KEYS[2]: when the last pass ended (Unix ms)
-- ARGV[1]: the time from the beginning of a pass to the beginning of the next one (ms)
-- ARGV[2]: the time after which the server of a pass that has not ended counts as dead (ms)
-- Returns: how long to wait before asking again (ms), 0 if the caller has the turn

-- @include clock

-- A key of another type counts as missing: the caller writes it again.
local function read(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and tonumber(string.match(value, '^%d+')) or nil
end

local began, ended = read(KEYS[1]), read(KEYS[2])
-- A pass that began in the future is from before the clock was set back: it does not count.
if began and began <= now then
  local has_ended = ended and ended >= began
  local next_at = began + tonumber(has_ended and ARGV[1] or ARGV[2])
  if now < next_at then
    return next_at - now
  end
end
redis.call('SET', KEYS[1], now)
return 0
