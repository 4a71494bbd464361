-- Checks that scripts run, that the clock can be read and that keys can be written: after a failover a PING may succeed
-- although every script fails, and a full or read-only node still serves reads.
-- KEYS[1]: the probe's key
-- ARGV[1]: TTL (ms)
-- Returns: now (Unix ms)

-- @include clock
redis.call('SET', KEYS[1], now, 'PX', ARGV[1])
return now
