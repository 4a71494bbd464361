-- Renews leases that are known and changes nothing else, for several callers at once: what makes events, or refuses, is
-- left to a call of heartbeat.lua by the caller whom it concerns.
-- KEYS: record, past of entry 1, of entry 2, …
-- ARGV: [1] ttl (ms), [2…] connection_id of each entry, followed by `!` and gateway_id if its call names a gateway
-- Returns: each entry's record, false if the lease is not known

local keys_each, before_ids = 2, 1
-- @include known
return records
