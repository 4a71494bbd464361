/** The example gateway, with real sockets. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';

import { WebSocket } from 'ws';

import { Gateway } from '../examples/gateway.js';
import { PresenceClient } from '../src/index.js';
import { eventually, Servers } from './servers.js';

/** A player's socket, and what it receives. */
class Player {
  readonly socket: WebSocket;
  readonly received: any[] = [];

  constructor(port: number, playerId: string) {
    this.socket = new WebSocket(`ws://127.0.0.1:${port}/?player=${playerId}`);
    this.socket.on('message', (data) => this.received.push(JSON.parse(String(data))));
  }

  async send(message: object): Promise<void> {
    if (this.socket.readyState === WebSocket.CONNECTING) await once(this.socket, 'open');
    this.socket.send(JSON.stringify(message));
  }

  states(): string[] {
    return this.received.map(({ presence }) => presence?.state);
  }
}

test('friends see each other, also across a restart of the gateway', { timeout: 60_000 }, async () => {
  const servers = await Servers.start({ PRESENCE_HEARTBEAT_INTERVAL: '1s' });
  const gateway = new Gateway(servers.endpoint, 0);
  const [alice, bob] = [new Player(await gateway.port(), 'alice'), new Player(await gateway.port(), 'bob')];
  await bob.send({ state: 'IN_MATCH' });
  await bob.send({ activity: { details: 'Ranked, 2/4', joinable: true } });
  await alice.send({ watch: ['bob'] });
  await eventually(() => alice.received.some(({ presence }) => presence?.activity?.joinable));
  await alice.send({ watch: ['not an id'] });
  await eventually(() => alice.received.some(({ error }) => error?.includes('player id')));

  // Both connect to another gateway. Neither is OFFLINE in between.
  const closed = Promise.all([once(alice.socket, 'close'), once(bob.socket, 'close')]);
  const observer = new Gateway(servers.endpoint, 0);
  const carol = new Player(await observer.port(), 'carol');
  await carol.send({ watch: ['bob'] });
  await eventually(() => carol.received.length > 0);
  await gateway.stop();
  await closed;
  new Player(await observer.port(), 'bob');
  await eventually(async () => (await new PresenceClient(servers.endpoint).get('bob')).connectionCount === 1);
  const last = new PresenceClient(servers.endpoint);
  await last.setState('bob', 'AWAY');
  await eventually(() => carol.states().at(-1) === 'AWAY');
  assert.deepEqual(carol.states(), ['IN_MATCH', 'AWAY']);

  // A sign-out closes the socket.
  const signedOut = once(carol.socket, 'close');
  await last.setState('carol', 'OFFLINE');
  carol.socket.send('{}');
  await signedOut;
  await observer.stop();
  await servers.stop();
});
