-- The past: what outlives the record, in one line of text.
--
--   <last_seen> <version> <state> <reason> <ms until the end>
--
-- While the player is not OFFLINE it says what the record said last, so that a record that ran out is still known: its
-- state, why it ended (`expired` or, in a grace, `lost`), and when: so many milliseconds after `last_seen`. What is as
-- usual is left out: the state where it is ONLINE, the reason where it is `expired`, the milliseconds where they are the
-- TTL. Once the OFFLINE transition is made the state is OFFLINE, and the key lives for the retention. heartbeat.lua
-- patches the 13 digits of `last_seen` in place.

-- Returns { last_seen, version, state, reason, expires_at }, or nil.
local function decode_past(line)
  local last_seen, version, rest = string.match(line or '', '^(%d+) (%d+)(.*)$')
  if not version then
    return nil
  end
  return {
    last_seen = tonumber(last_seen),
    version = tonumber(version),
    state = string.match(rest, '[A-Z_]+') or 'ONLINE',
    reason = string.match(rest, '[a-z][a-z_]*') or 'expired',
    expires_at = last_seen + (string.match(rest, '%d+') or ttl),
  }
end

local function encode_past(player, expires_at, reason)
  local line = player.last_seen .. ' ' .. player.version
  local duration = expires_at - player.last_seen
  if player.state ~= 'ONLINE' then
    line = line .. ' ' .. player.state
  end
  if reason ~= 'expired' then
    line = line .. ' ' .. reason
  end
  return duration == ttl and line or line .. ' ' .. duration
end
