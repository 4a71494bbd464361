-- The record: a player's presence while the player is not OFFLINE.
--
--   {"last_seen":…,"version":…,"connection_count":…,"state":"…","leases":[<ms>,…],"activity":true}
--
-- `leases` is written if the player has several: each number is the time from `last_seen` to a lease's expiry. A single
-- lease expires with the record. `activity` is written if the player has one; its text is in the past (lib/past.lua),
-- which a heartbeat of the only connection reads anyway and does not rewrite. The order of the members is part of the
-- format. No state needs escaping in JSON, so records are encoded and decoded as text, without cjson.
-- Defines MAX_NUMBER, decode_record, encode_record.

-- A greater stored number is invalid. Lua prints numbers of up to 14 digits in full, and Redis accepts no other form.
local MAX_NUMBER = 9e13

local RECORD = '^{"last_seen":(%d+),"version":(%d+),"connection_count":%d+,"state":"([A-Z_]+)"[,}]'

-- Returns { last_seen, version, state }, or nil if the text is malformed.
local function decode_record(json)
  local last_seen, version, state = string.match(json or '', RECORD)
  last_seen, version = tonumber(last_seen), tonumber(version)
  if not state or math.max(last_seen, version) > MAX_NUMBER then
    return nil
  end
  return { last_seen = last_seen, version = version, state = state }
end

local function encode_record(player)
  local durations = {}
  for i, lease in ipairs(player.leases) do
    durations[i] = math.max(lease.expires_at - player.last_seen, 0)
  end
  local leases = #durations > 1 and ',"leases":[' .. table.concat(durations, ',') .. ']' or ''
  return '{"last_seen":' .. player.last_seen .. ',"version":' .. player.version
    .. ',"connection_count":' .. #durations .. ',"state":"' .. player.state .. '"' .. leases
    .. (player.activity and ',"activity":true}' or '}')
end
