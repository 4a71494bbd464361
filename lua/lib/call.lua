-- What every call carries.
-- KEYS: record, past, closed of entry 1, of entry 2, …; then the expiry index; the owners; the outbox, if there is one.
-- ARGV: ttl (ms); the terms; then what the script's own header names. The terms are what a heartbeat that only renews
--       does not need, in one text so that it need not even take them in:
--       <retention, ms> <max_connections> <bytes before the id in a record's name> <traceparent> <tracestate>
local entries = math.floor((#KEYS - 2) / 3)
local index, owners, outbox = KEYS[3 * entries + 1], KEYS[3 * entries + 2], KEYS[3 * entries + 3]
local ttl = tonumber(ARGV[1])
local retention, max_connections, prefix, traceparent, tracestate =
  string.match(ARGV[2], '^(%d+) (%d+) (%d+) (%S+) (.*)$')
retention, max_connections, prefix = tonumber(retention), tonumber(max_connections), tonumber(prefix)
