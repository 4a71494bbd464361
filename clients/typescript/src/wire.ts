/** The service's JSON, and the objects that callers get. */
import type { Activity, Connection, Presence, State, WatchedPresence } from './types.js';

export interface WireConnection {
  player_id: string;
  connection_id: string;
}

export interface WirePresence {
  player_id: string;
  state: State;
  last_seen: number | null;
  connection_count?: number;
  version: number | null;
  activity?: Activity;
}

export function toWire({ playerId, connectionId }: Connection): WireConnection {
  return { player_id: playerId, connection_id: connectionId };
}

export function toPresence(wire: WirePresence): Presence {
  return { ...toWatchedPresence(wire), connectionCount: wire.connection_count ?? 0 };
}

export function toWatchedPresence(wire: WirePresence): WatchedPresence {
  const presence = { playerId: wire.player_id, state: wire.state, lastSeen: wire.last_seen, version: wire.version };
  return wire.activity === undefined ? presence : { ...presence, activity: wire.activity };
}
