-- The past: what outlives the record, in one line of text.
--
--   <last_seen> <expires_at> <version> <state> <reason>
--
-- While the player is not OFFLINE it says what the record said last, so that a record that ran out is still known:
-- its state, and why it will have ended (`expired`, or `lost` in a grace). Once the OFFLINE transition is made the
-- state is OFFLINE, and the key lives for the retention. heartbeat.lua patches the first two times in place.

-- Returns { last_seen, expires_at, version, state, reason }, or nil.
local function decode_past(line)
  local last_seen, expires_at, version, state, reason = string.match(line or '', '^(%d+) (%d+) (%d+) (%S+) (%S+)$')
  if not state then
    return nil
  end
  return {
    last_seen = tonumber(last_seen),
    expires_at = tonumber(expires_at),
    version = tonumber(version),
    state = state,
    reason = reason,
  }
end

local function encode_past(player, expires_at, reason)
  return player.last_seen .. ' ' .. expires_at .. ' ' .. player.version .. ' ' .. player.state .. ' ' .. reason
end
