-- Finds gateways whose leases have expired. They count as lost: the leases of their connections have to be ended. If so
-- many expire at once, or the sweeps paused for so long, that the fault is more likely between them and Redis, nothing
-- is ended for one gateway TTL, in which live gateways renew their leases.
-- KEYS[1]: the gateways' leases
-- KEYS[2]: the gateways whose connections are being ended
-- KEYS[3]: the gateways lost within the last gateway TTL
-- KEYS[4]: hash with the time of the last check, and the end of a hold
-- ARGV[1]: ttl of a gateway's lease (ms)
-- ARGV[2]: a pause between two calls that counts as an outage (ms)
-- ARGV[3]: `<reason>!<grace, ms>` for end_leases.lua
-- Returns: { 1 if nothing may be ended now, else 0; number of gateways that this call found lost; number of known
--          gateways; `<gateway_id>!<before, Unix ms>!<reason>!<grace, ms>` of each gateway whose connections are to be
--          ended now }

-- Gateways whose connections are ended in one pass. The others wait for the next pass.
local MAX_ENDING = 100

-- @include clock
local leases, ending, recent, last_check = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ttl, outage = tonumber(ARGV[1]), tonumber(ARGV[2])

local seen, held_until = unpack(redis.call('HMGET', last_check, 'seen', 'held_until'))
seen, held_until = tonumber(seen or nil), tonumber(held_until or 0)
held_until = math.min(held_until, now + ttl) -- the clock was set back
local is_held = now < held_until

-- A lease counts through the millisecond of its expiry, and not after.
local expired = redis.call('ZRANGEBYSCORE', leases, '-inf', '(' .. now, 'WITHSCORES')
local known = redis.call('ZCARD', leases)

-- Returns whether half of the known gateways, the lost ones included, expired within one ttl. Gateways that expired
-- before or during an earlier hold do not count again.
local function is_mass_expiry()
  redis.call('ZREMRANGEBYSCORE', recent, '-inf', '(' .. now - ttl)
  local gateways, all, count = {}, known, 0
  local lost = redis.call('ZRANGE', recent, 0, -1, 'WITHSCORES')
  for i = 1, #lost, 2 do
    if not redis.call('ZSCORE', leases, lost[i]) then
      all = all + 1
    end
    gateways[lost[i]] = tonumber(lost[i + 1])
  end
  for i = 1, #expired, 2 do
    gateways[expired[i]] = tonumber(expired[i + 1])
  end
  for _, expired_at in pairs(gateways) do
    if expired_at >= now - ttl and expired_at > held_until then
      count = count + 1
    end
  end
  return all >= 3 and 2 * count >= all
end

if not is_held and known > 0 then
  local was_outage = seen and now - seen > outage
  if was_outage or #expired > 0 and is_mass_expiry() then
    held_until = now + ttl
    is_held = true
  end
end
redis.call('HSET', last_check, 'seen', now, 'held_until', held_until)
if is_held then
  return { 1, 0, known }
end

for i = 1, #expired, 2 do
  local gateway, expired_at = expired[i], expired[i + 1]
  redis.call('ZREM', leases, gateway)
  redis.call('ZADD', recent, expired_at, gateway)
  redis.call('PEXPIRE', recent, 2 * ttl)
  -- A lease that is renewed in this very millisecond stays: the gateway may be back already.
  redis.call('ZADD', ending, now, gateway .. '!' .. now - 1 .. '!' .. ARGV[3])
end
local due = redis.call('ZRANGEBYSCORE', ending, '-inf', now, 'LIMIT', 0, MAX_ENDING)
return { 0, #expired / 2, known - #expired / 2, unpack(due) }
