-- The record: what a player's presence is while the player is not OFFLINE.
--
--   {"last_seen":…,"version":…,"connection_count":…,"state":"…","leases":[<ms>,…],"activity":true}
--
-- `leases` is there where there are several: they end so many milliseconds after `last_seen`, each at its own time. A
-- sole one ends with the record. `activity` is there if the player has one: its text is in the past (lib/past.lua), which a
-- heartbeat reads anyway and does not write again. In a reply the text stands in this place. The order of the members is
-- part of the format. No state needs escaping in JSON, so text is put together and taken apart without cjson.

-- A stored number above this is not ours. Lua prints numbers of up to 14 digits in full, and Redis takes no others.
local MAX_NUMBER = 9e13

local RECORD = '^{"last_seen":(%d+),"version":(%d+),"connection_count":%d+,"state":"([A-Z_]+)"[,}]'

-- Returns { last_seen, version, state }, or nil for what is no record of ours.
local function decode_record(json)
  local last_seen, version, state = string.match(json or '', RECORD)
  last_seen, version = tonumber(last_seen), tonumber(version)
  if not state or math.max(last_seen, version) > MAX_NUMBER then
    return nil
  end
  return { last_seen = last_seen, version = version, state = state }
end

-- `activity` is what is written of the player's activity: `true`, its text, or nil if there is none.
local function encode_record(player, activity)
  local durations = {}
  for i, lease in ipairs(player.leases) do
    durations[i] = math.max(lease.expiry - player.last_seen, 0)
  end
  local leases = #durations > 1 and ',"leases":[' .. table.concat(durations, ',') .. ']' or ''
  return '{"last_seen":' .. player.last_seen .. ',"version":' .. player.version
    .. ',"connection_count":' .. #durations .. ',"state":"' .. player.state .. '"' .. leases
    .. (activity and ',"activity":' .. activity or '') .. '}'
end
