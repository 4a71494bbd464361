-- Looks again at players whose time in the expiry index has come: those whose record ran out make their OFFLINE
-- transition, those who turn out to be alive are filed anew under their true expiry.
-- KEYS: see lib/call.lua
-- ARGV: see lib/call.lua
-- Returns: see lib/reply.lua; A for a player who is alive, E for one who went OFFLINE here, X for one who already had;
--          no record

-- @include call
-- @include clock
-- @include record
-- @include past
-- @include events
-- @include player

local NO_KEY, NO_EXPIRY = -2, -1

local outcomes = {}
for entry = 1, entries do
  local record = KEYS[3 * entry - 2]
  local expires_at = redis.call('PEXPIRETIME', record)
  if expires_at == NO_KEY then
    local player, has_run_out = load_player(entry)
    redis.call('ZREM', index, player.id)
    outcomes[entry] = has_run_out and 'E' or 'X'
  else
    redis.call('ZADD', index, 'XX', expires_at == NO_EXPIRY and now + ttl or expires_at, player_id(record))
    outcomes[entry] = 'A'
  end
end
return { table.concat(outcomes), false, unpack(events) }
