-- The KEYS and ARGV that all scripts about players share, except renew_known.lua.
-- KEYS: record, past and tombstones of each entry; then the expiry index, the owners, and the outbox if events are on
-- ARGV[1]: ttl (ms)
-- ARGV[2]: the call context: what the renewal fast path does not need, in one argument because each argument costs
--          time: `<retention, ms> <max_connections> <bytes before the id in a record key> <traceparent> <tracestate>`.
--          Further lines are described in heartbeat.lua
-- Defines entries, index, owners, outbox, ttl, retention, max_connections, id_offset, traceparent, tracestate.
local entries = math.floor((#KEYS - 2) / 3)
local index, owners, outbox = KEYS[3 * entries + 1], KEYS[3 * entries + 2], KEYS[3 * entries + 3]
local ttl = tonumber(ARGV[1])
local retention, max_connections, id_offset, traceparent, tracestate =
  string.match(ARGV[2], '^(%d+) (%d+) (%d+) (%S+) ([^\n]*)')
retention, max_connections, id_offset = tonumber(retention), tonumber(max_connections), tonumber(id_offset)
