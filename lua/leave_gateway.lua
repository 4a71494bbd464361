-- Ends a gateway's lease at the gateway's own request, and notes that the leases of its connections have to be ended.
-- The caller ends them; if the caller fails, sweeps do.
-- KEYS[1]: the gateways' leases
-- KEYS[2]: the gateways whose connections are being ended
-- ARGV[1]: gateway_id
-- ARGV[2]: `<reason>!<grace, ms>` for end_leases.lua
-- ARGV[3]: how long the caller may take (ms)
-- Returns: the noted member, also if an earlier call noted it and its connections have not all been ended; false if the
--          gateway is unknown

-- An upper bound on the clock difference between nodes of a cluster (ms), so that a lease that was renewed just before
-- on another node ends as well.
local CLOCK_TOLERANCE = 1000

-- @include clock
local leases, ending, gateway = KEYS[1], KEYS[2], ARGV[1]
if redis.call('ZREM', leases, gateway) == 1 then
  local member = gateway .. '!' .. now + CLOCK_TOLERANCE .. '!' .. ARGV[2]
  redis.call('ZADD', ending, now + ARGV[3], member)
  return member
end
for _, member in ipairs(redis.call('ZRANGE', ending, 0, -1)) do
  if string.sub(member, 1, #gateway + 1) == gateway .. '!' then
    return member
  end
end
return false
