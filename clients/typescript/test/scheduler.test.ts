/** The core of the notifier, with times that are passed in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PresenceProblem } from '../src/errors.js';
import { Scheduler } from '../src/notifier/scheduler.js';
import type { BatchResponse } from '../src/notifier/outcome.js';
import { TimerQueue } from '../src/notifier/timer-queue.js';
import type { Call } from '../src/notifier/tasks.js';

const INTERVAL_MS = 15_000;

/** A scheduler and its clock; calls get their response at once. */
class Simulation {
  now = 0;
  readonly calls: Call[] = [];
  readonly scheduler: Scheduler;

  constructor(maxBatch = 1_000) {
    this.scheduler = new Scheduler({ heartbeatIntervalMs: INTERVAL_MS, ttlMs: 45_000, maxBatch }, 0);
  }

  connect(playerId: string, connectionId = 'c'): void {
    this.scheduler.connected({ playerId, connectionId }, this.now);
  }

  /** Lets time pass, and responds to each call. */
  run(durationMs: number, respond: (call: Call) => BatchResponse | Error = () => ({})): Call[] {
    const end = this.now + durationMs;
    const made: Call[] = [];
    for (;;) {
      const call = this.scheduler.nextCall(this.now);
      if (call !== undefined) {
        const result = respond(call);
        this.scheduler.settle(call, result instanceof Error ? { error: result } : { response: result }, this.now);
        made.push(call);
        continue;
      }
      const next = this.scheduler.nextCallAt ?? Infinity;
      if (next > end) break;
      this.now = Math.max(this.now, next);
    }
    this.now = end;
    this.calls.push(...made);
    return made;
  }
}

const unavailable = new PresenceProblem(503, 'store-unavailable', 'the store did not respond', undefined, 1_000);

function summary(calls: Call[]): string[] {
  return calls.flatMap(({ tasks }) =>
    tasks.map(({ playerId, task }) => {
      const what = 'connectionId' in task ? task.connectionId : task.type === 'state' ? task.state : JSON.stringify(task.activity);
      return `${task.type} ${playerId} ${what}`;
    }),
  );
}

test('a connect that is in flight while the gateway is announced is announced after it', () => {
  const simulation = new Simulation();
  simulation.connect('alice');
  simulation.run(1_000, ({ kind }) => {
    simulation.now += 10;
    if (kind === 'connect') simulation.scheduler.announceAll(simulation.now);
    return {};
  });
  assert.deepEqual(summary(simulation.calls), ['connect alice c', 'heartbeat alice c']);
});

test('reports that come together share a call', () => {
  const simulation = new Simulation();
  for (let n = 0; n < 2_500; n++) simulation.connect(`p${n}`);
  assert.deepEqual(simulation.run(10).map(({ tasks }) => tasks.length), [1_000, 1_000, 500]);
});

test('heartbeats of connections that were opened together are spread over the interval', () => {
  const simulation = new Simulation();
  for (let n = 0; n < 10_000; n++) simulation.connect(`p${n}`);
  simulation.run(2 * INTERVAL_MS);
  const calls = simulation.run(INTERVAL_MS).filter(({ kind }) => kind === 'heartbeat');
  assert.deepEqual(calls.map(({ tasks }) => tasks.length), Array(10).fill(1_000));
  const gaps = calls.slice(1).map(({ sentAt }, index) => sentAt - (calls[index] as Call).sentAt);
  assert.ok(gaps.every((gap) => Math.abs(gap - INTERVAL_MS / 10) < 1), `${gaps}`);
});

test('no connection waits longer than an interval for its heartbeat', () => {
  const simulation = new Simulation(10);
  const lastHeardAt = new Map<string, number>();
  for (let n = 0; n < 500; n++) {
    simulation.connect(`p${n}`);
    for (const { tasks, sentAt, kind } of simulation.run(Math.random() * 200)) {
      for (const { playerId } of tasks) {
        if (kind === 'heartbeat') assert.ok(sentAt - (lastHeardAt.get(playerId) ?? -Infinity) <= INTERVAL_MS + 1);
        lastHeardAt.set(playerId, sentAt);
      }
    }
  }
  assert.equal(simulation.scheduler.counters.dropped, 0);
});

test('what happens to one player is reported in its order', () => {
  const simulation = new Simulation();
  simulation.connect('alice', 'c1');
  simulation.scheduler.stateChanged('alice', 'IN_QUEUE', 0);
  simulation.run(10, () => unavailable);
  simulation.scheduler.stateChanged('alice', 'IN_MATCH', simulation.now);
  simulation.scheduler.disconnected({ playerId: 'alice', connectionId: 'c1' }, 'quit', simulation.now);
  simulation.connect('alice', 'c2');
  simulation.calls.length = 0;
  simulation.run(10_000);
  // The first connect may have taken effect: its disconnect is reported. The states were those of a connection that is gone.
  assert.deepEqual(summary(simulation.calls), ['disconnect alice c1', 'connect alice c2']);
});

test('a connection that the service never heard of needs no report', () => {
  const simulation = new Simulation();
  simulation.connect('alice');
  simulation.scheduler.disconnected({ playerId: 'alice', connectionId: 'c' }, 'quit', 0);
  assert.deepEqual(simulation.run(60_000), []);
  assert.equal(simulation.scheduler.openConnections, 0);
});

test('the latest state replaces one that waits, and a sign-out is not replaced', () => {
  const simulation = new Simulation();
  simulation.connect('alice');
  for (const state of ['IN_QUEUE', 'OFFLINE', 'AWAY', 'ONLINE'] as const) simulation.scheduler.stateChanged('alice', state, 0);
  assert.deepEqual(summary(simulation.run(100)), ['connect alice c', 'state alice OFFLINE', 'state alice ONLINE']);
});

test('an activity is sent once per second at most, and the latest wins', () => {
  const simulation = new Simulation();
  simulation.connect('alice');
  for (let n = 0; n < 50; n++) {
    simulation.scheduler.activityChanged('alice', { details: `${n}` }, simulation.now);
    simulation.run(100);
  }
  simulation.run(2_000);
  const sent = simulation.calls.filter(({ kind }) => kind === 'activity');
  assert.equal(sent.length, 6);
  assert.deepEqual(sent.at(-1)?.tasks[0]?.task, { type: 'activity', activity: { details: '49' } });
});

test('a player who reconnects at once does not send a second activity sooner', () => {
  const simulation = new Simulation();
  simulation.connect('alice', 'first');
  simulation.scheduler.activityChanged('alice', { details: 'one' }, simulation.now);
  simulation.run(100);
  simulation.scheduler.disconnected({ playerId: 'alice', connectionId: 'first' }, 'lost', simulation.now);
  simulation.run(100);
  simulation.connect('alice', 'second');
  simulation.scheduler.activityChanged('alice', { details: 'two' }, simulation.now);
  assert.deepEqual(summary(simulation.run(700)), ['connect alice second']);
  assert.deepEqual(summary(simulation.run(200)), ['activity alice {"details":"two"}']);
});

test('calls that fail pause, longer each time, and only one is tried at a time', () => {
  const simulation = new Simulation(1);
  for (let n = 0; n < 100; n++) simulation.connect(`p${n}`);
  const failed = simulation.run(20_000, () => unavailable);
  assert.ok(failed.length < 20, `${failed.length} calls`);
  const calls = simulation.run(10_000);
  assert.equal(new Set(calls.filter(({ kind }) => kind === 'connect').flatMap(({ tasks }) => tasks.map(({ playerId }) => playerId))).size, 100);
});

test('one bad entry does not keep the others from being reported', () => {
  const simulation = new Simulation();
  for (const player of ['a', 'b', 'c']) simulation.connect(player);
  const calls = simulation.run(20_000, ({ kind, tasks }) => {
    const index = kind === 'connect' ? tasks.findIndex(({ playerId }) => playerId === 'b') : -1;
    return index < 0 ? {} : new PresenceProblem(400, 'invalid-request', 'a bad id', `connections[${index}].player_id`, undefined);
  });
  assert.deepEqual(summary(calls.filter(({ kind }) => kind === 'connect')).slice(3), ['connect a c', 'connect c c']);
  assert.equal(simulation.scheduler.counters.dropped, 1);
});

test('a batch that is too long for the service is halved', () => {
  const simulation = new Simulation();
  for (let n = 0; n < 1_000; n++) simulation.connect(`p${n}`);
  const tooLarge = new PresenceProblem(413, 'too-large', 'too long', undefined, undefined);
  const calls = simulation.run(1_000, ({ tasks }) => (tasks.length > 300 ? tooLarge : {}));
  assert.deepEqual(calls.map(({ tasks }) => tasks.length), [1_000, 500, 250, 250, 250, 250]);
});

test('a state that the service lost is reported again', () => {
  const simulation = new Simulation();
  simulation.connect('alice');
  simulation.scheduler.stateChanged('alice', 'IN_MATCH', 0);
  simulation.run(1_000);
  simulation.calls.length = 0;
  const restored = [{ player_id: 'alice', connection_id: 'c' }];
  simulation.run(INTERVAL_MS, ({ kind }) => (kind === 'heartbeat' ? { restored } : {}));
  assert.deepEqual(summary(simulation.calls), ['heartbeat alice c', 'state alice IN_MATCH']);
});

test('after an outage longer than a lease the state is reported again, even if nothing says that it was lost', () => {
  const simulation = new Simulation();
  simulation.connect('alice');
  simulation.scheduler.stateChanged('alice', 'IN_MATCH', 0);
  simulation.run(1_000);
  simulation.run(60_000, () => unavailable);
  simulation.calls.length = 0;
  simulation.run(20_000);
  assert.ok(summary(simulation.calls).includes('state alice IN_MATCH'), `${summary(simulation.calls)}`);
});

test('a connection that the service closed is forgotten', () => {
  const simulation = new Simulation();
  simulation.connect('alice');
  simulation.run(1_000);
  const closed = [{ player_id: 'alice', connection_id: 'c' }];
  simulation.run(INTERVAL_MS, () => ({ closed }));
  assert.equal(simulation.scheduler.openConnections, 0);
  assert.deepEqual(simulation.run(60_000), []);
});

test('tasks are given up after twice a lease, but not the state of a connected player', () => {
  const simulation = new Simulation();
  simulation.connect('gone');
  simulation.connect('alice');
  simulation.run(1_000);
  simulation.scheduler.stateChanged('alice', 'IN_MATCH', simulation.now);
  simulation.scheduler.disconnected({ playerId: 'gone', connectionId: 'c' }, 'quit', simulation.now);
  simulation.run(120_000, () => unavailable);
  simulation.calls.length = 0;
  simulation.run(30_000);
  const reported = summary(simulation.calls);
  assert.ok(reported.includes('state alice IN_MATCH') && !reported.some((report) => report.includes('gone')), `${reported}`);
});

test('random histories end with what is true', () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = generator(seed);
    const simulation = new Simulation(3);
    const open = new Map<string, Set<string>>();
    const service = new Map<string, Set<string>>();
    let isDown = false;
    const respond = ({ kind, tasks }: Call) => {
      // A call that fails may have taken effect.
      if (isDown && random() < 0.5) return unavailable;
      for (const { playerId, task } of tasks) {
        if (!('connectionId' in task)) continue;
        const leases = service.get(playerId) ?? new Set<string>();
        service.set(playerId, leases);
        if (task.type === 'disconnect') leases.delete(task.connectionId);
        else leases.add(task.connectionId);
      }
      return isDown && kind !== 'heartbeat' ? unavailable : {};
    };
    for (let step = 0; step < 60; step++) {
      const playerId = `p${Math.floor(random() * 4)}`;
      const connections = open.get(playerId) ?? new Set<string>();
      open.set(playerId, connections);
      const choice = random();
      const [first] = connections;
      if (choice < 0.4) {
        connections.add(`c${step}`);
        simulation.connect(playerId, `c${step}`);
      } else if (choice < 0.7 && first !== undefined) {
        connections.delete(first);
        simulation.scheduler.disconnected({ playerId, connectionId: first }, 'lost', simulation.now);
      } else if (choice < 0.8) isDown = !isDown;
      simulation.run(random() * 3_000, respond);
    }
    isDown = false;
    simulation.run(60_000, respond);
    for (const [playerId, connections] of open) {
      assert.deepEqual([...(service.get(playerId) ?? [])].sort(), [...connections].sort(), `seed ${seed}, ${playerId}`);
    }
    assert.equal(simulation.scheduler.queueLength, 0, `seed ${seed}`);
  }
});

test('a timer queue returns its items in order, without those that were removed', () => {
  const random = generator(7);
  const queue = new TimerQueue<number>();
  const timers = Array.from({ length: 1_000 }, (_, item) => queue.add(Math.floor(random() * 100), item));
  const removed = new Set(timers.filter(() => random() < 0.3));
  removed.forEach((timer) => queue.remove(timer));
  removed.forEach((timer) => queue.remove(timer));
  const expected = timers.filter((timer) => !removed.has(timer)).sort((one, other) => one.at - other.at || one.item - other.item);
  const popped = [];
  for (let timer = queue.pop(Infinity); timer; timer = queue.pop(Infinity)) popped.push(timer.item);
  assert.deepEqual(popped, expected.map(({ item }) => item));
  assert.equal(queue.size, 0);
});

/** Numbers from 0 to 1 that a seed determines (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
