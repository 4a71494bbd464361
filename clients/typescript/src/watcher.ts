import WebSocket from 'ws';

import { backoff } from './backoff.js';
import { Transport, type Endpoint } from './transport.js';
import { checkPlayerId, type WatchedPresence } from './types.js';
import { toWatchedPresence, type WirePresence } from './wire.js';

/** The most players of one request: ten thousand sockets that watch their friends at once are a few requests. */
const MAX_BATCH = 1_000;

/** The service pings every 15 s: after so much silence the stream is given up. */
const MAX_SILENCE_MS = 40_000;

/** How long the service may take to reply to a request, and the handshake. */
const REPLY_TIMEOUT_MS = 30_000;
const HANDSHAKE_TIMEOUT_MS = 6_000;

/** The pauses before another stream: from 100–200 ms to 1–2 s, and longer if the service asks for it. */
const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 15_000;

/** A stream that was open for so long ends an episode of failures. */
const STABLE_AFTER_MS = 10_000;

/**
 * Whether what was delivered is current: `live`; `polling`, some seconds late; `stale`, as the service cannot read its
 * store; or `disconnected`, until another stream is open and all changes since have arrived.
 */
export type FeedState = 'live' | 'polling' | 'stale' | 'disconnected';

export interface WatcherOptions {
  /** Called at each change of the feed, with the error that ended the stream if there is one. */
  onFeed?: (feed: FeedState, error?: Error) => void;
  /** Where failures are logged, once per episode (default: the console). */
  logger?: Pick<Console, 'info' | 'warn'>;
}

/** A player that at least one subscription watches. */
interface Watched {
  held: WatchedPresence | undefined;
  highestVersion: number;
  subscriptions: Set<Subscription>;
}

interface Request {
  id: number;
  kind: 'watch' | 'unwatch';
  playerIds: string[];
  timer: NodeJS.Timeout;
}

interface Message {
  presences?: WirePresence[];
  feed?: string;
  id?: number;
  watching?: number;
  error?: { type: string; status: number; detail: string };
}

/**
 * Watches players over one WebSocket, whatever the number of subscriptions. Nothing is lost: the first presence of a player
 * is what the service holds, then comes each change, or a newer one of the same player in its place. When a stream breaks,
 * another one gets what has changed since. Nothing is delivered twice.
 */
export class Watcher {
  readonly #transport: Transport;
  readonly #options: WatcherOptions;
  readonly #logger: Pick<Console, 'info' | 'warn'>;
  #players = new Map<string, Watched>();
  #toWatch = new Set<string>();
  #toUnwatch = new Set<string>();
  #inFlight: Request | undefined;
  #lastRequestId = 0;
  #maxBatch = MAX_BATCH;
  #socket: WebSocket | undefined;
  #isOpen = false;
  #reconnectTimer: NodeJS.Timeout | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #failures = 0;
  #retries = 0;
  #announcedFeed: FeedState = 'stale';
  #feed: FeedState = 'disconnected';
  #isClosed = false;

  constructor(endpoint: Endpoint, options: WatcherOptions = {}) {
    this.#transport = new Transport(endpoint);
    this.#options = options;
    this.#logger = options.logger ?? console;
  }

  /** Whether what was delivered is current. */
  get feed(): FeedState {
    return this.#feed;
  }

  /** Begins to watch players: what each one is now, then every change. */
  watch(playerIds: Iterable<string> = []): Subscription {
    const subscription = new Subscription(
      (playerId) => this.#add(subscription, playerId),
      (playerId) => this.#remove(subscription, playerId),
      (playerId) => this.#players.get(playerId)?.held,
    );
    subscription.add(playerIds);
    return subscription;
  }

  /** Uses this token for the next stream. It is opened at once if there is none. */
  setToken(token: string): void {
    this.#transport.setToken(token);
    if (this.#reconnectTimer === undefined) return;
    clearTimeout(this.#reconnectTimer);
    this.#open();
  }

  /** Ends the stream. Subscriptions get no more changes. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#reconnectTimer);
    clearTimeout(this.#retryTimer);
    this.#socket?.close();
  }

  #add(subscription: Subscription, playerId: string): void {
    const watched = this.#players.get(playerId);
    if (watched !== undefined) {
      watched.subscriptions.add(subscription);
      if (watched.held !== undefined) subscription.noteChange(playerId);
      return;
    }
    this.#players.set(playerId, { held: undefined, highestVersion: 0, subscriptions: new Set([subscription]) });
    // The service is asked again even if it still watches the player: what it sent before is no longer held.
    this.#toUnwatch.delete(playerId);
    this.#toWatch.add(playerId);
    this.#ensureStream();
  }

  #remove(subscription: Subscription, playerId: string): void {
    const watched = this.#players.get(playerId);
    watched?.subscriptions.delete(subscription);
    if (watched === undefined || watched.subscriptions.size > 0) return;
    this.#players.delete(playerId);
    if (!this.#toWatch.delete(playerId)) this.#toUnwatch.add(playerId);
    queueMicrotask(() => this.#sendNext());
  }

  #ensureStream(): void {
    if (this.#socket === undefined && this.#reconnectTimer === undefined && !this.#isClosed) this.#open();
    else queueMicrotask(() => this.#sendNext());
  }

  #open(): void {
    this.#reconnectTimer = undefined;
    const socket = new WebSocket(`${this.#transport.base.replace(/^http/, 'ws')}/watch`, {
      headers: this.#transport.headers,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      maxPayload: 4 * 1024 * 1024,
    });
    this.#socket = socket;
    let error: Error | undefined;
    let retryAfterMs = 0;
    let openedAt = Infinity;
    let silenceTimer: NodeJS.Timeout | undefined;
    const heard = () => {
      clearTimeout(silenceTimer);
      silenceTimer = setTimeout(() => socket.terminate(), MAX_SILENCE_MS);
    };
    socket.on('unexpected-response', (_, response) => {
      error = new Error(`the service refused the stream with status ${response.statusCode}`);
      retryAfterMs = 1_000 * (Number(response.headers['retry-after']) || 0);
      socket.terminate();
    });
    socket.on('open', () => {
      openedAt = performance.now();
      heard();
      this.#begin();
    });
    socket.on('ping', heard);
    socket.on('message', (data) => {
      heard();
      try {
        this.#receive(JSON.parse(String(data)) as Message);
      } catch (cause) {
        error = new Error('the service sent a message that is not valid', { cause });
        socket.terminate();
      }
    });
    socket.on('error', (cause) => (error ??= cause));
    socket.on('close', (code) => {
      clearTimeout(silenceTimer);
      if (performance.now() - openedAt >= STABLE_AFTER_MS) this.#failures = 0;
      this.#end(error ?? new Error(`the stream was closed with code ${code}`), openedAt !== Infinity, retryAfterMs);
    });
  }

  /** A stream is open: all players are requested, with the versions that are held. */
  #begin(): void {
    this.#isOpen = true;
    this.#toUnwatch.clear();
    this.#toWatch = new Set(this.#players.keys());
    this.#logger.info('watching players');
    this.#sendNext();
  }

  #end(error: Error, wasOpen: boolean, retryAfterMs: number): void {
    this.#socket = undefined;
    this.#isOpen = false;
    clearTimeout(this.#inFlight?.timer);
    this.#inFlight = undefined;
    if (this.#isClosed) return;
    if (wasOpen || this.#failures === 0) this.#logger.warn(`no stream to watch players on, it will be opened again: ${error.message}`);
    this.#setFeed('disconnected', error);
    const pause = backoff(this.#failures, MIN_PAUSE_MS, MAX_PAUSE_MS) + retryAfterMs;
    this.#failures += 1;
    this.#reconnectTimer = setTimeout(() => this.#open(), Math.min(pause, LONGEST_PAUSE_MS));
  }

  /** Sends the next request, if there is one and none is in flight. */
  #sendNext(): void {
    if (!this.#isOpen || this.#inFlight !== undefined || this.#retryTimer !== undefined) return;
    const kind = this.#toWatch.size > 0 ? 'watch' : 'unwatch';
    const waiting = kind === 'watch' ? this.#toWatch : this.#toUnwatch;
    const playerIds = [...take(waiting, this.#maxBatch)];
    if (playerIds.length === 0) return;
    const id = ++this.#lastRequestId;
    const timer = setTimeout(() => this.#socket?.terminate(), REPLY_TIMEOUT_MS);
    this.#inFlight = { id, kind, playerIds, timer };
    const request = kind === 'watch' ? { id, watch: playerIds, known: this.#known(playerIds) } : { id, unwatch: playerIds };
    this.#socket?.send(JSON.stringify(request));
  }

  /** The versions that are held of players; 0 for a player without one. */
  #known(playerIds: string[]): Record<string, number> {
    const held = playerIds.flatMap((playerId) => this.#players.get(playerId)?.held ?? []);
    return Object.fromEntries(held.map(({ playerId, version }) => [playerId, version ?? 0]));
  }

  #receive({ presences = [], feed, id, watching, error }: Message): void {
    presences.forEach((presence) => this.#take(toWatchedPresence(presence)));
    if (feed !== undefined) this.#announcedFeed = feed === 'live' || feed === 'polling' ? feed : 'stale';
    const request = id !== undefined && id === this.#inFlight?.id ? this.#inFlight : undefined;
    if (request !== undefined) {
      clearTimeout(request.timer);
      this.#inFlight = undefined;
      if (error !== undefined) this.#refused(request, error);
      else if (watching !== undefined) this.#retries = 0;
    }
    this.#sendNext();
    this.#publishFeed();
  }

  /** A request changed nothing: it is sent again, a little later. */
  #refused({ kind, playerIds }: Request, { status, detail }: { status: number; detail: string }): void {
    this.#logger.warn(`a request to watch players was refused: ${detail}`);
    if (status === 400) this.#maxBatch = Math.max(1, this.#maxBatch >> 1);
    const waiting = kind === 'watch' ? this.#toWatch : this.#toUnwatch;
    for (const playerId of playerIds) {
      if (this.#players.has(playerId) === (kind === 'watch')) waiting.add(playerId);
    }
    const pause = backoff(this.#retries, MIN_PAUSE_MS, status === 409 ? LONGEST_PAUSE_MS : 2_000);
    this.#retries += 1;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      this.#sendNext();
    }, pause);
  }

  #take(presence: WatchedPresence): void {
    const watched = this.#players.get(presence.playerId);
    if (watched === undefined) return; // unwatched meanwhile
    // Another stream may begin with a lower version if the store went back in time: that is a loss of data.
    const version = presence.version !== null && presence.version < watched.highestVersion ? null : presence.version;
    watched.highestVersion = Math.max(watched.highestVersion, version ?? 0);
    const before = watched.held;
    watched.held = { ...presence, version };
    if (before !== undefined && before.version === version && before.state === presence.state) return;
    watched.subscriptions.forEach((subscription) => subscription.noteChange(presence.playerId));
  }

  /** What was delivered is current only after all players were requested on this stream. */
  #publishFeed(): void {
    const isCurrent = this.#toWatch.size === 0 && this.#inFlight?.kind !== 'watch';
    if (isCurrent || this.#announcedFeed === 'stale') this.#setFeed(this.#announcedFeed);
  }

  #setFeed(feed: FeedState, error?: Error): void {
    if (feed === this.#feed) return;
    this.#feed = feed;
    this.#options.onFeed?.(feed, error);
  }
}

/**
 * Players, and their changes: `for await (const presence of subscription)`. A reader that is slow gets fewer and newer
 * presences, in memory that is bounded by the players.
 */
export class Subscription implements AsyncIterable<WatchedPresence> {
  readonly #begin: (playerId: string) => void;
  readonly #end: (playerId: string) => void;
  readonly #held: (playerId: string) => WatchedPresence | undefined;
  readonly #playerIds = new Set<string>();
  readonly #changed = new Set<string>();
  #wake: (() => void) | undefined;
  #isClosed = false;

  /** @internal */
  constructor(
    begin: (playerId: string) => void,
    end: (playerId: string) => void,
    held: (playerId: string) => WatchedPresence | undefined,
  ) {
    this.#begin = begin;
    this.#end = end;
    this.#held = held;
  }

  /** Watches more players. */
  add(playerIds: Iterable<string>): void {
    for (const playerId of playerIds) {
      checkPlayerId(playerId);
      if (this.#isClosed || this.#playerIds.has(playerId)) continue;
      this.#playerIds.add(playerId);
      this.#begin(playerId);
    }
  }

  /** Watches players no longer. */
  remove(playerIds: Iterable<string>): void {
    for (const playerId of playerIds) {
      if (!this.#playerIds.delete(playerId)) continue;
      this.#changed.delete(playerId);
      this.#end(playerId);
    }
  }

  /** Watches nothing any more, and ends the iteration. */
  close(): void {
    this.remove([...this.#playerIds]);
    this.#isClosed = true;
    this.#wake?.();
  }

  /** @internal */
  noteChange(playerId: string): void {
    this.#changed.add(playerId);
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<WatchedPresence> {
    for (;;) {
      for (const playerId of take(this.#changed, Infinity)) {
        const presence = this.#held(playerId);
        if (presence !== undefined) yield presence;
      }
      if (this.#isClosed) return;
      if (this.#changed.size === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

/** Removes and returns items, one by one, in the order in which they were added. */
function* take<T>(items: Set<T>, limit: number): Generator<T> {
  let count = 0;
  for (const item of items) {
    if (count++ >= limit) return;
    items.delete(item);
    yield item;
  }
}
