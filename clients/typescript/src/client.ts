import { Transport, type Endpoint } from './transport.js';
import type { Activity, Presence, State } from './types.js';
import { toPresence, type WirePresence } from './wire.js';

/** Reads and sets players, for services that are not gateways. All methods reject with a `PresenceProblem` or a `PresenceUnavailable`. */
export class PresenceClient {
  readonly #transport: Transport;

  constructor(endpoint: Endpoint) {
    this.#transport = new Transport(endpoint);
  }

  /** Reads one player. With `history`, an OFFLINE player has `lastSeen` and `version`, if they are known. */
  async get(playerId: string, { history = false } = {}): Promise<Presence> {
    const query = history ? '?history=true' : '';
    return toPresence((await this.#transport.get(`/presence/${encodeURIComponent(playerId)}${query}`)) as WirePresence);
  }

  /** Reads up to 2,000 players in one round trip, in the order asked. */
  async friends(playerIds: readonly string[], { history = false } = {}): Promise<{ asOf: number; presences: Presence[] }> {
    const body = { player_ids: playerIds, history };
    const response = (await this.#transport.post('/presence/friends', body)) as { as_of: number; presences: WirePresence[] };
    return { asOf: response.as_of, presences: response.presences.map(toPresence) };
  }

  /** Sets a player's state; `OFFLINE` signs the player out on every device. */
  async setState(playerId: string, state: State): Promise<Presence> {
    return toPresence((await this.#transport.post('/presence/state', { player_id: playerId, state })) as WirePresence);
  }

  /** Sets a player's activity; `null` removes it. */
  async setActivity(playerId: string, activity: Activity | null): Promise<Presence> {
    return toPresence((await this.#transport.post('/presence/state', { player_id: playerId, activity })) as WirePresence);
  }

  /** Sends this token with every call from now on. */
  setToken(token: string): void {
    this.#transport.setToken(token);
  }

  /** Closes the connections that are idle. */
  close(): void {
    this.#transport.close();
  }
}
