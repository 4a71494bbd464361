-- Checks players that are due in the expiry index: a player whose record expired makes the OFFLINE transition, a player
-- that is alive is rescheduled under the true expiry.
-- KEYS[3i-2], KEYS[3i-1], KEYS[3i]: record, past and tombstones of entry i, for i from 1 to n
-- KEYS[3n+1]: the expiry index
-- KEYS[3n+2]: the owners
-- KEYS[3n+3]: the outbox; left out if events are off
-- ARGV[1]: ttl (ms)
-- ARGV[2]: the call context, see lib/call.lua
-- Returns: see lib/reply.lua; the outcome of an entry is A (alive), E (went OFFLINE in this call), X (was OFFLINE
--          already) or F (failed)

-- @include call
-- @include clock
-- @include types
-- @include formats
-- @include codec
-- @include events
-- @include owners
-- @include player
-- @include reply

local NO_KEY = -2

-- The true expiry and the id of each player that is alive: the arguments of one ZADD.
local rescheduled = {}

-- Returns the outcome.
local function check(entry)
  if not are_shared_keys_usable() then
    return 'F'
  end
  local record = KEYS[3 * entry - 2]
  local expires_at = redis.call('PEXPIRETIME', record)
  -- Nearly all players that are due are alive: only their expiry is read.
  if expires_at ~= NO_KEY then
    rescheduled[#rescheduled + 1] = string.format('%d', expires_at == NO_EXPIRY and now + ttl or expires_at)
    rescheduled[#rescheduled + 1] = player_id(record)
    return 'A'
  end
  local player = load_player(entry)
  if player.is_overdue then
    expire_if_due(player)
    return 'E'
  end
  redis.call('ZREM', index, player.id)
  return 'X'
end

local outcomes = {}
for entry = 1, entries do
  outcomes[entry] = check(entry)
end
if #rescheduled > 0 then
  redis.call('ZADD', index, 'XX', unpack(rescheduled))
end
return reply(outcomes)
