-- The reply of a script: { outcomes, record, entry id, event, entry id, event, … }
--   outcomes: a letter for each entry, in order: A accepted, R restored (or new), C closed, E expired, X rejected,
--             F failed (a key of another type: nothing of this entry changed)
--   record: of a call with one entry, the record as it now stands, but with the text of the activity; false if the player
--           is OFFLINE, or there are several
--   entry id, event: each transition made here, as it stands in the outbox
local function reply(outcomes, player)
  local record = entries == 1 and player and player.state ~= 'OFFLINE' and encode_record(player, player.activity)
  return { table.concat(outcomes), record or false, unpack(events) }
end
