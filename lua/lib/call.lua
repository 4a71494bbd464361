-- What every call carries.
-- KEYS: record, past, closed of entry 1, of entry 2, …; then the expiry index; then the outbox, where there is one.
-- ARGV: ttl (ms), retention (ms), traceparent, tracestate; then what the script's own header names.
local entries = math.floor(#KEYS / 3)
local index, outbox = KEYS[3 * entries + 1], KEYS[3 * entries + 2]
local ttl, retention = tonumber(ARGV[1]), tonumber(ARGV[2])
local traceparent, tracestate = ARGV[3], ARGV[4]
