-- Looks for gateways whose leases have expired. They are lost: the leases of their connections are to be ended. Unless that
-- many expire at once, or the sweeps paused for so long, that the fault is more likely in between: then nothing is ended
-- for the time of one gateway lease, in which live gateways renew theirs.
-- KEYS: the gateways' leases; the gateways whose connections are being ended; the gateways lost within the last ttl;
--       what the last look found
-- ARGV: [1] ttl of a gateway's lease (ms), [2] the pause between two looks that is an outage (ms),
--       [3] `<reason>!<grace, ms>` for lua/end_leases.lua
-- Returns: { 1 if nothing may be ended now, else 0; number of gateways lost by this look; number of known gateways;
--          the gateways whose connections are to be ended now: `<gateway_id>!<before, Unix ms>!<reason>!<grace, ms>`, … }

-- Gateways whose connections are ended in one pass; the others wait for the next.
local MAX_ENDING = 100

-- @include clock
local leases, ending, recent, looks = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ttl, outage = tonumber(ARGV[1]), tonumber(ARGV[2])

local seen, held_until = unpack(redis.call('HMGET', looks, 'seen', 'held_until'))
seen, held_until = tonumber(seen or nil), tonumber(held_until or 0)
held_until = math.min(held_until, now + ttl) -- the clock was set back
local is_held = now < held_until

-- A lease counts through the millisecond of its expiry, and not after.
local expired = redis.call('ZRANGEBYSCORE', leases, '-inf', '(' .. now, 'WITHSCORES')
local known = redis.call('ZCARD', leases)

-- Whether half of the known gateways, the lost among them, expired within one ttl. Those of an earlier pause do not count
-- again.
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
redis.call('HSET', looks, 'seen', now, 'held_until', held_until)
if is_held then
  return { 1, 0, known }
end

for i = 1, #expired, 2 do
  local gateway, expired_at = expired[i], expired[i + 1]
  redis.call('ZREM', leases, gateway)
  redis.call('ZADD', recent, expired_at, gateway)
  redis.call('PEXPIRE', recent, 2 * ttl)
  redis.call('ZADD', ending, now, gateway .. '!' .. now .. '!' .. ARGV[3])
end
local due = redis.call('ZRANGEBYSCORE', ending, '-inf', now, 'LIMIT', 0, MAX_ENDING)
return { 0, #expired / 2, known - #expired / 2, unpack(due) }
