-- Looks again at players whose time in the expiry index has come: those whose record ran out make their OFFLINE
-- transition, those who turn out to be alive are filed anew under their true expiry.
-- KEYS: see lib/call.lua
-- ARGV: …, then player_id of each entry
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
  local player_id = ARGV[4 + entry]
  local expires_at = redis.call('PEXPIRETIME', KEYS[3 * entry - 2])
  if expires_at == NO_KEY then
    local _, has_run_out = load_player(entry, player_id)
    redis.call('ZREM', index, player_id)
    outcomes[entry] = has_run_out and 'E' or 'X'
  else
    redis.call('ZADD', index, 'XX', expires_at == NO_EXPIRY and now + ttl or expires_at, player_id)
    outcomes[entry] = 'A'
  end
end
return { table.concat(outcomes), false, unpack(events) }
