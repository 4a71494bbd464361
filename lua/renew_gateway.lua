-- Renews a gateway's lease. One that has expired and is not known to be lost yet is renewed as any other.
-- KEYS: the gateways' leases
-- ARGV: gateway_id; ttl (ms)
-- Returns: 1 if the gateway was not known, else 0

-- @include clock
return redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
