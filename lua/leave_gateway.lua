-- Ends a gateway's lease on its own request, and notes that the leases of its connections are to be ended. The caller ends
-- them; if it fails, sweeps do.
-- KEYS: the gateways' leases; the gateways whose connections are being ended
-- ARGV: [1] gateway_id, [2] `<reason>!<grace, ms>` for lua/end_leases.lua, [3] the time that the caller may take (ms)
-- Returns: the member that was noted, also by an earlier call that has not finished yet; false if the gateway is not known

-- The clocks of a cluster's nodes differ by less (ms): a lease that was renewed just before on another node ends as well.
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
