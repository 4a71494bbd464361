-- The record: what a player's presence is while the player is not OFFLINE.
--
--   {"last_seen":…,"version":…,"connection_count":…,"state":"…","leases":{"<connection_id>":<ms>,…}}
--
-- A lease ends so many milliseconds after `last_seen`. The order of the members and the 13 digits of `last_seen` are
-- part of the format: heartbeat.lua patches them in place. No id holds a character that JSON escapes, so text is put
-- together and taken apart without cjson.

local RECORD = '^{"last_seen":(%d+),"version":(%d+),"connection_count":%d+,"state":"([A-Z_]+)","leases":{(.*)}}$'

-- Returns { last_seen, version, state, leases = list of { id, expiry } }, or nil for what is no record of ours.
local function decode_record(json)
  local last_seen, version, state, list = string.match(json or '', RECORD)
  if not state then
    return nil
  end
  local leases = {}
  for id, duration in string.gmatch(list, '"([^"]+)":(%d+)') do
    leases[#leases + 1] = { id = id, expiry = last_seen + duration }
  end
  return { last_seen = tonumber(last_seen), version = tonumber(version), state = state, leases = leases }
end

local function encode_record(player)
  local leases = {}
  for i, lease in ipairs(player.leases) do
    leases[i] = '"' .. lease.id .. '":' .. lease.expiry - player.last_seen
  end
  return '{"last_seen":' .. player.last_seen .. ',"version":' .. player.version
    .. ',"connection_count":' .. #leases .. ',"state":"' .. player.state
    .. '","leases":{' .. table.concat(leases, ',') .. '}}'
end
