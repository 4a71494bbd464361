/**
 * A WebSocket gateway: reports its players' sockets, and sends players their friends' presences.
 *
 *     npm run example -- --presence-url http://127.0.0.1:8080
 *
 * A player connects to `ws://127.0.0.1:9001/?player=alice` (a real gateway checks a session first) and sends
 * `{"state":"IN_MATCH"}`, `{"activity":{"details":"Ranked"}}`, `{"watch":["bob"]}` or `{"unwatch":["bob"]}`.
 * It receives `{"presence":{…}}`, at first and at every change of a watched player.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { parseArgs } from 'node:util';

import { WebSocketServer, type WebSocket } from 'ws';

import {
  HttpNotifier,
  isPlayerId,
  reasonOfCloseCode,
  Watcher,
  type Activity,
  type Endpoint,
  type State,
  type Subscription,
} from '../src/index.js';

/** A socket whose unread data is longer than this is not written to: its friends wait, and the newest presence wins. */
const MAX_BUFFERED_BYTES = 64 * 1024;

/** 4001: signed out, or too many devices. Clients do not reconnect after it. */
const CLOSED_BY_SERVICE = 4_001;

/** What a player sends. The service refuses what is not valid. */
interface Message {
  state?: State;
  activity?: Activity | null;
  watch?: string[];
  unwatch?: string[];
}

export class Gateway {
  readonly #server: WebSocketServer;
  readonly #notifier: HttpNotifier;
  readonly #watcher: Watcher;
  readonly #sockets = new Map<string, WebSocket>();

  constructor(endpoint: Endpoint, port: number) {
    this.#notifier = new HttpNotifier(endpoint, {
      onClosed: (_, connectionId) => this.#sockets.get(connectionId)?.close(CLOSED_BY_SERVICE),
    });
    this.#watcher = new Watcher(endpoint);
    this.#server = new WebSocketServer({ host: '127.0.0.1', port, maxPayload: 16 * 1024 });
    this.#server.on('connection', (socket, request) => {
      const playerId = new URL(request.url ?? '/', 'ws://gateway').searchParams.get('player') ?? '';
      if (isPlayerId(playerId)) this.#serve(socket, playerId);
      else socket.close(1008, 'no player');
    });
  }

  async port(): Promise<number> {
    if (this.#server.address() === null) await once(this.#server, 'listening');
    return (this.#server.address() as { port: number }).port;
  }

  /** Ends the gateway. Friends do not notice if the players connect to another one soon. */
  async stop(): Promise<void> {
    this.#server.close();
    await this.#notifier.drain('moving', 10_000);
    for (const socket of this.#sockets.values()) socket.close(1012, 'the gateway restarts');
    this.#watcher.close();
  }

  #serve(socket: WebSocket, playerId: string): void {
    const connectionId = randomUUID();
    const friends = this.#watcher.watch();
    this.#sockets.set(connectionId, socket);
    this.#notifier.connected(playerId, connectionId);
    void sendPresences(socket, friends);
    socket.on('message', (data) => {
      try {
        this.#receive(playerId, friends, JSON.parse(String(data)));
      } catch (error) {
        socket.send(JSON.stringify({ error: String(error) }));
      }
    });
    socket.on('error', () => socket.terminate());
    socket.on('close', (code) => {
      friends.close();
      this.#sockets.delete(connectionId);
      this.#notifier.disconnected(playerId, connectionId, reasonOfCloseCode(code));
    });
  }

  #receive(playerId: string, friends: Subscription, { state, activity, watch, unwatch }: Message): void {
    if (state !== undefined) this.#notifier.stateChanged(playerId, state);
    if (activity !== undefined) this.#notifier.activityChanged(playerId, activity);
    if (watch !== undefined) friends.add(watch);
    if (unwatch !== undefined) friends.remove(unwatch);
  }
}

async function sendPresences(socket: WebSocket, friends: Subscription): Promise<void> {
  for await (const presence of friends) {
    socket.send(JSON.stringify({ presence }));
    while (socket.bufferedAmount > MAX_BUFFERED_BYTES && socket.readyState === socket.OPEN) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

if (import.meta.filename === process.argv[1]) {
  const { values } = parseArgs({
    options: {
      'presence-url': { type: 'string', default: 'http://127.0.0.1:8080' },
      port: { type: 'string', default: '9001' },
    },
  });
  const token = process.env.PRESENCE_TOKEN;
  const url = values['presence-url'];
  const gateway = new Gateway(token === undefined ? { url } : { url, token }, Number(values.port));
  console.log(`listening on ws://127.0.0.1:${await gateway.port()}`);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void gateway.stop().finally(() => process.exit()));
}
