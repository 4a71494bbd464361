/** The watcher against the real service. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PresenceClient, Watcher, type FeedState, type Subscription, type WatchedPresence } from '../src/index.js';
import { eventually, Servers, TOKEN } from './servers.js';

const LIMIT_MS = 60_000;
const silent = { info: () => {}, warn: () => {} };

/** Reads a subscription into a list. */
function collect(subscription: Subscription): WatchedPresence[] {
  const presences: WatchedPresence[] = [];
  void (async () => {
    for await (const presence of subscription) presences.push(presence);
  })();
  return presences;
}

const states = (presences: WatchedPresence[], playerId: string) =>
  presences.filter((presence) => presence.playerId === playerId).map(({ state }) => state);

test('a watcher gets what players are, and then each change', { timeout: LIMIT_MS }, async () => {
  const servers = await Servers.start();
  const client = new PresenceClient(servers.endpoint);
  await client.setState('alice', 'AWAY');
  const feeds: FeedState[] = [];
  const watcher = new Watcher(servers.endpoint, { logger: silent, onFeed: (feed) => feeds.push(feed) });
  const first = collect(watcher.watch(['alice', 'bob']));
  await eventually(() => first.length === 2);
  assert.deepEqual([states(first, 'alice'), states(first, 'bob')], [['AWAY'], ['OFFLINE']]);

  await client.setState('bob', 'ONLINE');
  await client.setActivity('bob', { details: 'Ranked, 2/4', joinable: true });
  await eventually(() => first.some(({ activity }) => activity?.joinable === true));

  // A player that is watched already is delivered from what is held, and the others are not disturbed.
  const subscription = watcher.watch();
  const second = collect(subscription);
  subscription.add(['bob', 'carol']);
  await eventually(() => second.length === 2);
  assert.equal(second.find(({ playerId }) => playerId === 'bob')?.activity?.details, 'Ranked, 2/4');
  subscription.remove(['bob']);
  await client.setState('bob', 'AWAY');
  await client.setState('carol', 'ONLINE');
  await eventually(() => states(second, 'carol').includes('ONLINE'));
  await eventually(() => states(first, 'bob').includes('AWAY'));
  assert.deepEqual(states(second, 'bob'), ['ONLINE']);
  assert.equal(watcher.feed, 'live');
  assert.deepEqual(feeds, ['live']);
  watcher.close();
  await servers.stop();
});

test('what changes while there is no stream arrives later, once, and versions never decrease', { timeout: LIMIT_MS }, async () => {
  const servers = await Servers.start();
  const players = Array.from({ length: 2_500 }, (_, n) => `player-${n}`);
  const feeds: FeedState[] = [];
  const watcher = new Watcher(servers.endpoint, { logger: silent, onFeed: (feed) => feeds.push(feed) });
  const presences = collect(watcher.watch(players));
  await eventually(() => presences.length === players.length);
  const client = new PresenceClient(servers.endpoint);
  await client.setState('player-1', 'ONLINE');
  await eventually(() => states(presences, 'player-1').length === 2);

  await servers.stopPresence();
  await eventually(() => watcher.feed === 'disconnected');
  await servers.startPresence();
  await client.setState('player-2', 'ONLINE');
  await client.setState('player-3', 'ONLINE');
  await client.setState('player-3', 'AWAY');
  await eventually(() => watcher.feed === 'live' && states(presences, 'player-3').includes('AWAY'));
  assert.deepEqual(states(presences, 'player-2'), ['OFFLINE', 'ONLINE']);
  assert.deepEqual(feeds, ['live', 'disconnected', 'live']);
  assert.ok(presences.length <= players.length + 4, `${presences.length} presences: nothing is delivered twice`);
  for (const playerId of ['player-1', 'player-2', 'player-3']) {
    const versions = presences.filter((presence) => presence.playerId === playerId).map(({ version }) => version ?? 0);
    assert.deepEqual(versions, [...versions].sort((one, other) => one - other));
  }
  watcher.close();
  await servers.stop();
});

test('a reader that is slow gets the newest presence', { timeout: LIMIT_MS }, async () => {
  const servers = await Servers.start();
  const client = new PresenceClient(servers.endpoint);
  const watcher = new Watcher(servers.endpoint, { logger: silent });
  const subscription = watcher.watch(['alice']);
  const other = collect(watcher.watch(['alice']));
  await eventually(() => other.length === 1);
  for (const state of ['ONLINE', 'AWAY', 'IN_QUEUE', 'IN_MATCH'] as const) {
    await client.setState('alice', state);
    await eventually(() => states(other, 'alice').at(-1) === state);
  }
  const first = await subscription[Symbol.asyncIterator]().next();
  assert.equal(first.value?.state, 'IN_MATCH');
  watcher.close();
  await servers.stop();
});

test('a stream that is refused is opened with the next token', { timeout: LIMIT_MS }, async () => {
  const servers = await Servers.start();
  const errors: (Error | undefined)[] = [];
  const watcher = new Watcher({ url: servers.url, token: 'a-token-that-is-wrong' }, { logger: { ...silent, warn: (line: string) => errors.push(new Error(line)) } });
  const presences = collect(watcher.watch(['alice']));
  await eventually(() => errors.length > 0);
  assert.match(String(errors[0]), /status 401/);
  watcher.setToken(TOKEN);
  await eventually(() => presences.length === 1);
  watcher.close();
  await servers.stop();
});

test('what is not an id is refused at once', () => {
  const watcher = new Watcher({ url: 'http://127.0.0.1:9' });
  assert.throws(() => watcher.watch(['not an id']), TypeError);
  watcher.close();
});
