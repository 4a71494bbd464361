-- Shows that scripts run, that the clock can be read and that keys can be written: after a failover a PING may succeed
-- where every script fails, and a node that is full or read-only answers reads.
-- KEYS: the probe's key
-- ARGV: TTL (ms)
-- Returns: now (Unix ms)

-- @include clock
redis.call('SET', KEYS[1], now, 'PX', ARGV[1])
return now
