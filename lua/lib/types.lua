-- Handling of keys of another type, which another program or a person wrote. Such a key makes the entries fail that
-- need it, before anything of them changes, and no other entry of the call.
-- Needs index, outbox (lib/call.lua). Defines try, are_shared_keys_usable.

-- Runs a command. Returns its reply, or nil and true if the key is of another type.
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    if string.find(reply.err, 'WRONGTYPE', 1, true) then
      return nil, true
    end
    error(reply)
  end
  return reply
end

-- Returns whether the index and the outbox can be written. Checks once per call. (lib/owners.lua ignores owners of
-- another type.)
local shared_keys_usable
local function are_shared_keys_usable()
  if shared_keys_usable == nil then
    local _, is_wrong_index = try('ZCARD', index)
    local is_wrong_outbox
    if outbox then
      _, is_wrong_outbox = try('XLEN', outbox)
    end
    shared_keys_usable = not (is_wrong_index or is_wrong_outbox)
  end
  return shared_keys_usable
end
