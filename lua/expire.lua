-- Looks again at players whose time in the expiry index has come: those whose record expired make their OFFLINE
-- transition, those who turn out to be alive are rescheduled under their true expiry.
-- KEYS: record, past, closed of entry 1, of entry 2, …; the expiry index; the owners; the outbox, if there is one
-- ARGV: [1] ttl (ms), [2] the terms (lib/call.lua)
-- Returns: see lib/reply.lua; per entry A alive, E went OFFLINE here, X was OFFLINE already, F failed

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
