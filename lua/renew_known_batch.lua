-- Renews known leases and changes nothing else, for a batch of heartbeats, whose caller does not need the records.
-- KEYS and ARGV: see renew_known.lua
-- Returns: the entries whose leases are unknown, as numbers from 1 on

-- @include known
return unknown or {}
