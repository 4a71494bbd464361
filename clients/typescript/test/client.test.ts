import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { PresenceClient, PresenceProblem, PresenceUnavailable } from '../src/index.js';
import { Servers, TOKEN } from './servers.js';

let servers: Servers;
before(async () => (servers = await Servers.start()));
after(() => servers.stop());

test('an unknown player is OFFLINE', async () => {
  const presence = await new PresenceClient(servers.endpoint).get('stranger', { history: true });
  assert.deepEqual(presence, { playerId: 'stranger', state: 'OFFLINE', lastSeen: null, connectionCount: 0, version: null });
});

test('states and activities are set and read', async () => {
  const client = new PresenceClient(servers.endpoint);
  await client.setState('alice', 'ONLINE');
  const activity = { details: 'Ranked "2/4" \u2028 🎮', party: { id: 'p7', size: 2, max: 4 }, joinable: true, custom: { map: [] } };
  const set = await client.setActivity('alice', activity);
  assert.deepEqual(set.activity, activity);
  const { asOf, presences } = await client.friends(['bob', 'alice', 'bob']);
  assert.deepEqual(presences.map(({ playerId, state }) => [playerId, state]), [['bob', 'OFFLINE'], ['alice', 'ONLINE'], ['bob', 'OFFLINE']]);
  assert.deepEqual(presences[1]?.activity, activity);
  assert.ok(asOf >= (set.lastSeen ?? Infinity));
  assert.equal((await client.setActivity('alice', null)).activity, undefined);
});

test('a refusal says what is wrong', async () => {
  const client = new PresenceClient(servers.endpoint);
  await assert.rejects(client.setState('ghost', 'IN_MATCH'), (error: unknown) => {
    assert.ok(error instanceof PresenceProblem);
    assert.deepEqual([error.status, error.slug], [409, 'transition-rejected']);
    return true;
  });
  await assert.rejects(client.friends(['not an id']), (error: unknown) => error instanceof PresenceProblem && error.field === 'player_ids[0]');
});

test('a token is needed, and can be replaced', async () => {
  const client = new PresenceClient({ url: servers.url, token: 'a-token-that-is-wrong' });
  await assert.rejects(client.get('alice'), (error: unknown) => error instanceof PresenceProblem && error.status === 401);
  client.setToken(TOKEN);
  await client.get('alice');
});

test('a service that cannot be reached is not OFFLINE', async () => {
  const client = new PresenceClient({ url: 'http://127.0.0.1:9' });
  await assert.rejects(client.get('alice'), PresenceUnavailable);
});

test('an endpoint that cannot be used is refused at once', () => {
  for (const url of ['presence:8080', 'ftp://presence', 'http://user@presence', 'http://presence?x=1']) {
    assert.throws(() => new PresenceClient({ url }), TypeError, url);
  }
  assert.throws(() => new PresenceClient({ url: servers.url, token: 'two words' }), TypeError);
});
