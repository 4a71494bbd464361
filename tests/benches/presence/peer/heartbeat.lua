-- Renews a connection's lease, and creates the player if it is unknown.
-- KEYS[1]: the player's record
-- KEYS[2]: the players by the time at which they expire
-- ARGV[1]: ttl (ms)
-- ARGV[2]: connection_id
-- ARGV[3]: player_id
-- Returns: the record
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local record = redis.call('GET', KEYS[1])
local player = record and cjson.decode(record) or { state = 'ONLINE', version = now, connections = {} }
for connection, expires_at in pairs(player.connections) do
  if expires_at <= now then
    player.connections[connection] = nil
  end
end
local expires_at = now + ARGV[1]
player.connections[ARGV[2]] = expires_at
player.last_seen = now

record = cjson.encode(player)
redis.call('SET', KEYS[1], record, 'PX', ARGV[1])
redis.call('ZADD', KEYS[2], expires_at, ARGV[3])
return record
