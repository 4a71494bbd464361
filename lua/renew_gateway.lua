-- Renews a gateway's lease. A lease that has expired, but was not found lost yet, is renewed like any other.
-- KEYS[1]: the gateways' leases
-- ARGV[1]: gateway_id
-- ARGV[2]: ttl (ms)
-- Returns: 1 if the gateway was unknown, else 0

-- @include clock
return redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
