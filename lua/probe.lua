-- Shows that scripts run and the clock can be read: after a failover a PING may succeed where every script fails.
-- KEYS: none
-- ARGV: none
-- Returns: now (Unix ms)

-- @include clock
return now
