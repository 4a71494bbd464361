/** A client that is generated from docs/openapi.yaml drives a live player through all calls. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import createClient from 'openapi-fetch';

import type { paths } from './generated/api.js';
import { Servers, TOKEN } from './servers.js';

let servers: Servers;
before(async () => (servers = await Servers.start()));
after(() => servers.stop());

test('a generated client makes all calls of a live player', async () => {
  const api = createClient<paths>({ baseUrl: servers.url, headers: { authorization: `Bearer ${TOKEN}` } });
  const connection = { player_id: 'alice', connection_id: 'phone', gateway_id: 'gateway-1' };

  const gateway = await api.POST('/presence/gateway', { body: { gateway_id: 'gateway-1' } });
  assert.equal(gateway.data?.status, 'new');
  const connected = await api.POST('/presence/connect', { body: connection });
  assert.ok(connected.data && 'ttl_ms' in connected.data && 'state' in connected.data);
  // A time in ms does not fit into 32 bits.
  assert.ok((connected.data.version ?? 0) > 2 ** 32);
  const renewed = await api.POST('/presence/heartbeat', { body: { connections: [{ player_id: 'alice', connection_id: 'phone' }] } });
  assert.ok(renewed.data && 'accepted' in renewed.data && renewed.data.accepted === 1);
  const activity = { details: 'Ranked', joinable: true };
  const changed = await api.POST('/presence/state', { body: { player_id: 'alice', state: 'IN_MATCH', activity } });
  assert.deepEqual([changed.data?.state, changed.data?.activity], ['IN_MATCH', activity]);

  const read = await api.GET('/presence/{player_id}', { params: { path: { player_id: 'alice' }, query: { history: true } } });
  assert.equal(read.data?.connection_count, 1);
  const friends = await api.POST('/presence/friends', { body: { player_ids: ['alice', 'bob'], history: false } });
  assert.deepEqual(friends.data?.presences.map(({ state }) => state), ['IN_MATCH', 'OFFLINE']);
  assert.equal((await api.GET('/presence')).data?.states.IN_MATCH, 1);
  assert.equal((await api.GET('/gateways')).data?.gateways[0]?.connections, 1);
  const explanation = await api.GET('/console/players/{player_id}', { params: { path: { player_id: 'alice' } } });
  assert.equal(explanation.data?.connections[0]?.connection_id, 'phone');
  assert.equal((await api.GET('/health/ready')).data?.checks.redis.status, 'ok');

  const left = await api.POST('/presence/disconnect', { body: { player_id: 'alice', connection_id: 'phone', reason: 'quit' } });
  assert.ok(left.data && 'state' in left.data && left.data.state === 'OFFLINE');
  const closed = await api.POST('/presence/connect', { body: connection });
  assert.deepEqual([closed.error?.status, closed.error?.type], [410, 'urn:presence:connection-closed']);
});
