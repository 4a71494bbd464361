-- The owners: the connections that belong to gateways. A sorted set in which all scores are 0, so that the
-- connections of each gateway are adjacent: `<gateway_id>!<player_id> <connection_id>`.
--
-- The past says which gateway a connection belongs to (lib/formats.lua). Each script updates the owners together with
-- the past; a heartbeat of a known lease changes neither. A missing or extra member costs time, never correctness:
-- scripts that end leases check the past.
-- Needs owners (lib/call.lua), try (lib/types.lua). Defines member_of, update_owners.

local function member_of(player, lease)
  return lease.gateway .. '!' .. player.id .. ' ' .. lease.id
end

-- Returns whether a gateway has, or had, a connection of the player.
local function belongs_to_gateway(player)
  for _, lease in ipairs(player.leases) do
    if lease.gateway then
      return true
    end
  end
  return #player.members > 0
end

-- Updates the owners to the player's leases, after the past was written. A key of another type is ignored: the sweep
-- deletes it when it ends the leases of a gateway.
local function update_owners(player)
  if not belongs_to_gateway(player) then
    return
  end
  local current, members, removed, added = {}, {}, {}, {}
  for _, lease in ipairs(player.leases) do
    if lease.gateway then
      local member = member_of(player, lease)
      current[member] = true
      members[#members + 1] = member
    end
  end
  for _, member in ipairs(player.members) do
    if current[member] then
      current[member] = nil
    else
      removed[#removed + 1] = member
    end
  end
  for _, member in ipairs(members) do
    if current[member] then
      added[#added + 1] = 0
      added[#added + 1] = member
    end
  end
  if #removed > 0 then
    try('ZREM', owners, unpack(removed))
  end
  if #added > 0 then
    try('ZADD', owners, unpack(added))
  end
  player.members = members
end
