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
-- @include record
-- @include past
-- @include events
-- @include owners
-- @include player
-- @include reply

local NO_KEY = -2

-- Returns the outcome.
local function look_again(entry)
  local expires_at = redis.call('PEXPIRETIME', KEYS[3 * entry - 2])
  local player = load_player(entry)
  if not player then
    return 'F'
  elseif expires_at ~= NO_KEY then
    redis.call('ZADD', index, 'XX', expires_at == NO_EXPIRY and now + ttl or expires_at, player.id)
    return 'A'
  elseif player.is_overdue then
    expire_if_due(player)
    return 'E'
  end
  redis.call('ZREM', index, player.id)
  return 'X'
end

local outcomes = {}
for entry = 1, entries do
  outcomes[entry] = look_again(entry)
end
return reply(outcomes)
