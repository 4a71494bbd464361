-- The reply of a script: { outcomes, record, entry id, event, entry id, event, … }
--   outcomes: a letter for each entry, in order: A accepted, R restored (or new), C closed, E expired, X rejected
--   record: the last entry's record as it now stands, false where that player is OFFLINE
--   entry id, event: each transition made here, as it stands in the outbox
local function reply(outcomes, player)
  return { table.concat(outcomes), player.state ~= 'OFFLINE' and encode_record(player), unpack(events) }
end
