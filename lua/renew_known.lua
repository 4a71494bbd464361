-- Renews known leases and changes nothing else, for one or several callers. Each key of a call costs time, so it has the
-- two that a renewal needs. Every other heartbeat needs a call of heartbeat.lua for its own caller.
-- KEYS[2i-1], KEYS[2i]: record and past of entry i
-- ARGV[1]: ttl (ms)
-- ARGV[1+i]: connection_id of entry i, followed by `!` and gateway_id if its call names a gateway
-- Returns: for each entry the record, or false if the lease is unknown; if any renewed player has an activity, then for
--          each entry the past, which contains the activity, or false

local keys_each, before_ids = 2, 1
-- @include known
return records
