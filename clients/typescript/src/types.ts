/** Whether a player is connected, waits for a match, plays or is away. */
export type State = 'OFFLINE' | 'ONLINE' | 'IN_QUEUE' | 'IN_MATCH' | 'AWAY';

/** Why a connection was closed: on purpose, because its socket broke, or because the gateway restarts as planned. */
export type Reason = 'quit' | 'lost' | 'moving';

/** What a player is doing, and whether others can join. At least one member; at most 1 KiB as JSON. */
export interface Activity {
  /** Text for people, 1 to 128 characters. */
  details?: string;
  /** A group of players. `size` is at most `max`, `max` at most 1,000. */
  party?: { id: string; size: number; max: number };
  joinable?: boolean;
  /** What the game defines. It comes back as the same JSON value. */
  custom?: Record<string, unknown>;
}

/** The presence of one player. */
export interface Presence {
  playerId: string;
  state: State;
  /** When the service last heard of the player, in Unix ms of Redis's clock. `null` if the player is OFFLINE and the history is unknown, or was not asked for. */
  lastSeen: number | null;
  /** The number of live connections. */
  connectionCount: number;
  /** Orders the player's transitions. `null` as for `lastSeen`. */
  version: number | null;
  activity?: Activity;
}

/** The presence of a watched player: the versions of a player never decrease, unless the service lost its data. */
export type WatchedPresence = Omit<Presence, 'connectionCount'>;

/** One open socket of one player. */
export interface Connection {
  playerId: string;
  connectionId: string;
}

/** The reason that the code of a WebSocket's close frame stands for (RFC 6455, section 7.4). */
export function reasonOfCloseCode(code: number): Reason {
  return code === 1000 || code === 1001 ? 'quit' : 'lost';
}

/** Whether a text can be the id of a player. */
export function isPlayerId(id: string): boolean {
  return /^[A-Za-z0-9._:@|-]{1,128}$/.test(id) && id !== '.' && id !== '..';
}

/** Whether a text can be the id of a connection. */
export function isConnectionId(id: string): boolean {
  return /^[A-Za-z0-9._:@|=+/-]{1,128}$/.test(id);
}

/** Throws a `TypeError` for a text that cannot be the id of a player. */
export function checkPlayerId(id: string): void {
  if (!isPlayerId(id)) throw new TypeError('a player id has 1 to 128 characters of A-Z a-z 0-9 . _ - : @ |');
}

/** Throws a `TypeError` for a text that cannot be the id of a connection. */
export function checkConnectionId(id: string): void {
  if (!isConnectionId(id)) throw new TypeError('a connection id has 1 to 128 characters of A-Z a-z 0-9 . _ - : @ | = + /');
}
