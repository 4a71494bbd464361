/** The notifier against the real service. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';

import { GatewayLease } from '../src/notifier/gateway-lease.js';
import { Transport } from '../src/transport.js';
import { HttpNotifier, PresenceClient, UndeliveredError, type NotifierOptions } from '../src/index.js';
import { eventually, Servers } from './servers.js';

const LIMIT_MS = 60_000;

/** Collects log lines. */
function silentLogger() {
  const lines: string[] = [];
  const log = (line: unknown) => lines.push(String(line));
  return { lines, info: log, warn: log, error: log };
}

async function withNotifier(
  options: NotifierOptions,
  environment: Record<string, string>,
  check: (servers: Servers, notifier: HttpNotifier, lines: string[]) => Promise<void>,
): Promise<void> {
  const servers = await Servers.start(environment);
  const logger = silentLogger();
  const notifier = new HttpNotifier(servers.endpoint, { logger, ...options });
  try {
    await check(servers, notifier, logger.lines);
  } finally {
    notifier.close();
    await servers.stop();
  }
}

test('sockets, states and activities reach the service', { timeout: LIMIT_MS }, () =>
  withNotifier({}, {}, async (servers, notifier, lines) => {
    const client = new PresenceClient(servers.endpoint);
    notifier.connected('alice', 'phone');
    notifier.connected('alice', 'console');
    notifier.stateChanged('alice', 'IN_MATCH');
    notifier.activityChanged('alice', { details: 'Ranked' });
    await eventually(() => notifier.stats().queueLength === 0);
    const presence = await client.get('alice');
    assert.deepEqual([presence.state, presence.connectionCount, presence.activity], ['IN_MATCH', 2, { details: 'Ranked' }]);
    notifier.disconnected('alice', 'phone', 'quit');
    await eventually(async () => (await client.get('alice')).connectionCount === 1);
    notifier.disconnected('alice', 'console', 'lost');
    await eventually(async () => (await servers.stateOf('alice')) === 'OFFLINE');
    assert.deepEqual(lines, []);
  }),
);

test('after a crash of the service and a loss of its data everything is reported again', { timeout: LIMIT_MS }, async () => {
  const restored: string[] = [];
  const onRestored = (playerId: string, connectionId: string) => restored.push(`${playerId} ${connectionId}`);
  await withNotifier({ onRestored }, { PRESENCE_TTL: '6s', PRESENCE_HEARTBEAT_INTERVAL: '500ms' }, async (servers, notifier, lines) => {
    const activity = { details: 'Ranked' };
    notifier.connected('alice', 'phone');
    notifier.stateChanged('alice', 'IN_MATCH');
    notifier.activityChanged('alice', activity);
    await eventually(() => notifier.stats().queueLength === 0);
    await servers.stopPresence();
    await servers.flushRedis();
    notifier.connected('bob', 'tablet');
    await eventually(() => notifier.stats().failures > 2);
    await servers.startPresence();
    const client = new PresenceClient(servers.endpoint);
    await eventually(async () => {
      const { state, activity: current } = await client.get('alice');
      return state === 'IN_MATCH' && current?.details === activity.details;
    });
    await eventually(async () => (await servers.stateOf('bob')) === 'ONLINE');
    assert.ok(restored.includes('alice phone'), `${restored}`);
    await eventually(() => lines.includes('presence calls succeed again'));
    assert.equal(lines.filter((line) => line.includes('presence calls fail')).length, 1, 'once per episode');
  });
});

test('a player who is signed out elsewhere is reported as closed', { timeout: LIMIT_MS }, async () => {
  const closed: string[] = [];
  const onClosed = (playerId: string, connectionId: string) => {
    closed.push(`${playerId} ${connectionId}`);
    throw new Error('a fault of the gateway');
  };
  await withNotifier({ onClosed }, { PRESENCE_HEARTBEAT_INTERVAL: '200ms' }, async (servers, notifier, lines) => {
    notifier.connected('alice', 'phone');
    notifier.connected('bob', 'tablet');
    await eventually(() => notifier.stats().queueLength === 0);
    await new PresenceClient(servers.endpoint).setState('alice', 'OFFLINE');
    await eventually(() => closed.length > 0);
    assert.deepEqual(closed, ['alice phone']);
    const { heartbeats } = notifier.stats();
    await eventually(() => notifier.stats().heartbeats > heartbeats + 3);
    assert.equal(await servers.stateOf('alice'), 'OFFLINE');
    assert.equal(await servers.stateOf('bob'), 'ONLINE');
    assert.equal(lines.length, 1, `${lines}`);
  });
});

test('calls that are not accepted wait for the next token', { timeout: LIMIT_MS }, () =>
  withNotifier({}, {}, async (servers, _, __) => {
    const logger = silentLogger();
    const notifier = new HttpNotifier({ url: servers.url, token: 'a-token-that-is-wrong' }, { logger });
    notifier.connected('alice', 'phone');
    await eventually(() => notifier.stats().failures > 0);
    notifier.setToken(servers.endpoint.token);
    await eventually(async () => (await servers.stateOf('alice')) === 'ONLINE');
    assert.ok(logger.lines[0]?.includes('not accepted'), `${logger.lines}`);
    notifier.close();
  }),
);

test('a planned restart is one call, and emits no event', { timeout: LIMIT_MS }, () =>
  withNotifier({ gatewayId: 'gateway-1' }, {}, async (servers, notifier) => {
    const players = Array.from({ length: 300 }, (_, n) => `player-${n}`);
    players.forEach((playerId) => notifier.connected(playerId, 'old'));
    players.forEach((playerId) => notifier.stateChanged(playerId, 'IN_MATCH'));
    await eventually(() => notifier.stats().queueLength === 0);
    // The gateway is known, and its connections belong to it.
    await eventually(async () => (await gateways(servers)).some(({ connections }) => connections === players.length));
    const events = await publishedEvents(servers, 600);
    const { calls } = notifier.stats();
    await notifier.drain('moving', LIMIT_MS);
    assert.equal(notifier.stats().calls, calls, 'no disconnects beside the call that ends the lease');
    await eventually(async () => (await gateways(servers)).length === 0);
    const next = new HttpNotifier(servers.endpoint, { gatewayId: 'gateway-2' });
    players.forEach((playerId) => next.connected(playerId, 'new'));
    await eventually(() => next.stats().queueLength === 0);
    const { presences } = await new PresenceClient(servers.endpoint).friends(players);
    assert.ok(presences.every(({ state, connectionCount }) => state === 'IN_MATCH' && connectionCount === 1));
    assert.equal(await servers.metric('presence_events_published_total'), events);
    next.close();
  }),
);

test('after a crash of the gateway its players are OFFLINE long before their leases end', { timeout: LIMIT_MS }, () =>
  withNotifier({}, { PRESENCE_TTL: '10m', PRESENCE_GATEWAY_TTL: '1s', PRESENCE_SWEEP_INTERVAL: '200ms' }, async (servers, notifier) => {
    notifier.connected('alice', 'phone');
    await eventually(async () => (await gateways(servers)).some(({ connections }) => connections === 1));
    notifier.close(); // nothing is reported any more, as after a crash
    await eventually(async () => (await servers.stateOf('alice')) === 'OFFLINE');
  }),
);

test('a service that supports leases of gateways later gets one, and an older one is drained without `moving`', { timeout: LIMIT_MS }, async () => {
  let isOld = true;
  const { calls, url, close } = await standIn(1_000, ({ path }) => (isOld && path === '/presence/gateway' ? { status: 404 } : undefined));
  const logger = silentLogger();
  const notifiers = [0, 1].map(() => new HttpNotifier({ url }, { logger }));
  const [older, later] = notifiers as [HttpNotifier, HttpNotifier];
  try {
    await eventually(() => calls.filter(({ path }) => path === '/presence/gateway').length >= 4);
    assert.equal(older.gatewayId, undefined);
    older.connected('alice', 'phone');
    await eventually(() => older.stats().queueLength === 0);
    await older.drain('moving', LIMIT_MS);
    assert.equal(calls.find(({ path }) => path === '/presence/disconnect')?.body.reason, 'lost');
    later.connected('bob', 'tablet');
    isOld = false;
    await eventually(() => later.gatewayId !== undefined);
    await eventually(() => calls.some(({ path, body }) => path === '/presence/heartbeat' && body.gateway_id === later.gatewayId));
    assert.equal(logger.lines.filter((line) => line.includes('does not support leases')).length, 2, 'once per notifier');
  } finally {
    notifiers.forEach((notifier) => notifier.close());
    close();
  }
});

test('connections that were reported before the first renewal are announced after it', { timeout: LIMIT_MS }, async () => {
  const { calls, url, close } = await standIn(60_000, async ({ path }) => {
    if (path === '/presence/gateway') await eventually(() => calls.some((call) => call.path === '/presence/connect'));
    return undefined;
  });
  const notifier = new HttpNotifier({ url }, { gatewayId: 'gateway-1', logger: silentLogger() });
  try {
    notifier.connected('alice', 'phone');
    await eventually(() => calls.some(({ path, body }) => path === '/presence/heartbeat' && body.gateway_id === 'gateway-1'));
  } finally {
    notifier.close();
    close();
  }
});

for (const kind of ['connect', 'heartbeat']) {
  test(`a ${kind} that an older server refuses for its gateway id is sent again without it`, { timeout: LIMIT_MS }, async (t) => {
    let isOld = false;
    // Servers of two versions share the address: renewals of the lease succeed all the time.
    const { calls, url, close } = await standIn(200, ({ path, body }) =>
      isOld && path === `/presence/${kind}` && 'gateway_id' in body ? { status: 400, field: 'gateway_id' } : undefined,
    );
    const logger = silentLogger();
    const notifier = new HttpNotifier({ url }, { gatewayId: 'gateway-1', logger });
    const heartbeats = () => calls.filter(({ path }) => path === '/presence/heartbeat');
    try {
      notifier.connected('alice', 'phone');
      await eventually(() => heartbeats().at(-1)?.body.gateway_id === 'gateway-1');
      isOld = true;
      if (kind === 'connect') notifier.connected('bob', 'tablet');
      await eventually(() => notifier.stats().retries > 0);
      const count = heartbeats().length;
      await eventually(() => heartbeats().length >= count + 3 && heartbeats().slice(-3).every(({ body }) => !('gateway_id' in body)));
      const connects = calls.filter(({ path, body }) => path === '/presence/connect' && JSON.stringify(body).includes('bob'));
      assert.deepEqual(
        connects.map(({ body }) => body.gateway_id),
        kind === 'connect' ? ['gateway-1', undefined] : [],
      );
      assert.equal(notifier.stats().queueLength, 0);
      assert.equal(logger.lines.filter((line) => line.includes('does not support leases')).length, 1);
      assert.deepEqual(logger.lines.filter((line) => line.includes('refused')), []);

      isOld = false;
      const realNow = performance.now.bind(performance);
      t.mock.method(performance, 'now', () => realNow() + 60_000);
      await eventually(() => heartbeats().at(-1)?.body.gateway_id === 'gateway-1');
    } finally {
      notifier.close();
      close();
    }
  });
}

test('calls name no gateway for 60 s after its id was refused', { timeout: LIMIT_MS }, async (t) => {
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const { url, close } = await standIn(1_000, () => undefined);
  const transport = new Transport({ url });
  let lease: GatewayLease | undefined;
  try {
    await new Promise<void>((resolve) => {
      lease = new GatewayLease('gateway-1', transport, { onNew() {}, onRenewed: resolve, onFailed() {}, onUnsupported() {} });
    });
    assert.equal(lease?.idForCalls, 'gateway-1');
    lease?.idWasRefused();
    now = 59_999;
    assert.equal(lease?.idForCalls, undefined);
    now = 60_000;
    assert.equal(lease?.idForCalls, 'gateway-1');
  } finally {
    lease?.stop();
    transport.close();
    close();
  }
});

test('a drain disconnects connections that the service does not assign to the gateway', { timeout: LIMIT_MS }, () =>
  withNotifier({ gatewayId: 'gateway-1' }, {}, async (servers, notifier) => {
    notifier.connected('alice', 'phone');
    notifier.connected('bob', 'tablet');
    await eventually(async () => (await gateways(servers)).some(({ connections }) => connections === 2));
    const response = await fetch(`${servers.url}/presence/heartbeat`, {
      method: 'POST',
      headers: { authorization: `Bearer ${servers.endpoint.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ player_id: 'alice', connection_id: 'phone', gateway_id: 'gateway-2' }),
    });
    assert.equal(response.status, 200);
    await notifier.drain('quit', LIMIT_MS);
    assert.equal(await servers.stateOf('alice'), 'OFFLINE');
    assert.equal(await servers.stateOf('bob'), 'OFFLINE');
  }),
);

test('a gateway without a lease of its own drains by disconnects', { timeout: LIMIT_MS }, () =>
  withNotifier({ gatewayId: false }, {}, async (servers, notifier) => {
    notifier.connected('alice', 'phone');
    await eventually(() => notifier.stats().queueLength === 0);
    assert.deepEqual(await gateways(servers), []);
    await notifier.drain('quit', LIMIT_MS);
    assert.equal(await servers.stateOf('alice'), 'OFFLINE');
    notifier.connected('bob', 'tablet');
    assert.equal(notifier.stats().openConnections, 0);
  }),
);

test('a drain without a service says how much was not delivered', { timeout: LIMIT_MS }, async () => {
  const notifier = new HttpNotifier({ url: 'http://127.0.0.1:9' }, { gatewayId: false, logger: silentLogger() });
  notifier.connected('alice', 'phone');
  await eventually(() => notifier.stats().failures > 0);
  await assert.rejects(notifier.drain('lost', 300), (error: unknown) => error instanceof UndeliveredError && error.tasks >= 1);
});

test('ids that the service would refuse are refused at once', () => {
  const notifier = new HttpNotifier({ url: 'http://127.0.0.1:9' }, { gatewayId: false });
  assert.throws(() => notifier.connected('not an id', 'c'), TypeError);
  assert.throws(() => notifier.connected('alice', ''), TypeError);
  assert.throws(() => notifier.stateChanged('..', 'AWAY'), TypeError);
  notifier.close();
});

interface ReceivedCall {
  path: string;
  body: Record<string, unknown>;
}

interface Refusal {
  status: number;
  field?: string;
}

/** A service that accepts every call, except those that `refuse` returns a status for. */
async function standIn(intervalMs: number, refuse: (call: ReceivedCall) => Refusal | undefined | Promise<Refusal | undefined>) {
  const calls: ReceivedCall[] = [];
  const timing = { heartbeat_interval_ms: intervalMs, ttl_ms: 3 * intervalMs };
  const server = createServer(async (request, response) => {
    const call: ReceivedCall = { path: request.url ?? '', body: JSON.parse(await text(request)) as Record<string, unknown> };
    calls.push(call);
    const refusal = await refuse(call);
    response.writeHead(refusal?.status ?? 200, { 'content-type': 'application/json' });
    const accepted = call.path === '/presence/gateway' ? { status: 'alive', ...timing } : { accepted: 1, ...timing };
    response.end(JSON.stringify(refusal ?? accepted));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { calls, url, close: () => server.close() };
}

async function gateways(servers: Servers): Promise<{ gateway_id: string; connections: number }[]> {
  const headers = { authorization: `Bearer ${servers.endpoint.token}` };
  const response = await fetch(`${servers.url}/gateways`, { headers });
  return ((await response.json()) as { gateways: { gateway_id: string; connections: number }[] }).gateways;
}

/** Waits until so many events are published, and returns how many there are. */
async function publishedEvents(servers: Servers, count: number): Promise<number> {
  const published = () => servers.metric('presence_events_published_total');
  await eventually(async () => (await published()) >= count);
  return published();
}
