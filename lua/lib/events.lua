-- Events: one per transition, added to the outbox in the same atomic step and returned to the caller as well. Without
-- an outbox no events are emitted.
-- Needs now, outbox, traceparent, tracestate (lib/call.lua, lib/clock.lua), text_of (lib/codec.lua). Defines events,
-- record_event.

local events = {}

local function event_type(previous_state, state)
  if previous_state == 'OFFLINE' then
    return 'PresenceOnline'
  elseif state == 'OFFLINE' then
    return 'PresenceOffline'
  end
  return 'PresenceStateChanged'
end

local function record_event(player, previous_state, reason)
  if not outbox then
    return
  end
  local event = '{"id":"' .. player.id .. ':' .. text_of(player.version)
    .. '","type":"' .. event_type(previous_state, player.state)
    .. '","player_id":"' .. player.id
    .. '","state":"' .. player.state
    .. '","previous_state":"' .. previous_state
    .. '","connection_count":' .. text_of(#player.leases)
    .. ',"last_seen":' .. text_of(player.last_seen)
    .. ',"version":' .. text_of(player.version)
    .. ',"occurred_at":' .. text_of(now)
    .. ',"reason":"' .. reason .. '"'
    .. (player.activity and ',"activity":' .. player.activity or '') .. '}'
  local entry = redis.call('XADD', outbox, '*', 'event', event, 'traceparent', traceparent, 'tracestate', tracestate)
  events[#events + 1] = entry
  events[#events + 1] = event
end
