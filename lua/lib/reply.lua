-- The reply of a script about players: { outcomes, record, activity, entry id, event, entry id, event, … }
--   outcomes: one letter per entry, in order. Each script's header says what its letters mean
--   record: the stored record, if the call has one entry; false if the player is OFFLINE or the call has several entries
--   activity: the player's activity, or the past that contains it, if the record is returned and says that there is one;
--             else false
--   entry id, event: each transition of this call, as stored in the outbox
-- Needs entries (lib/call.lua), events (lib/events.lua), encode_record (lib/codec.lua). Defines reply.
local function reply(outcomes, player)
  local record = entries == 1 and player and player.state ~= 'OFFLINE' and encode_record(player)
  return { table.concat(outcomes), record or false, record and player.activity or false, unpack(events) }
end
