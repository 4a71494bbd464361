-- Renews known leases and changes nothing else, for several callers at once. A heartbeat that makes an event or is
-- refused needs a call of heartbeat.lua for its own caller.
-- KEYS[2i-1], KEYS[2i]: record and past of entry i
-- ARGV[1]: ttl (ms)
-- ARGV[1+i]: connection_id of entry i, followed by `!` and gateway_id if its call names a gateway
-- Returns: the record of each entry, or false if its lease is unknown

local keys_each, before_ids = 2, 1
-- @include known
return records
