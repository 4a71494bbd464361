import type { Connection } from '../types.js';
import { TimerQueue, type Timer } from './timer-queue.js';

/** No interval is shorter or longer, whatever the service says. */
const MIN_INTERVAL_MS = 100;
const MAX_INTERVAL_MS = 3_600_000;

/** The next heartbeat of one connection. */
export interface Heartbeat {
  queue: TimerQueue<Connection>;
  timer: Timer<Connection>;
}

/**
 * The open connections, in the order of their next heartbeats.
 *
 * Of n connections, a call carries at most `n / calls`, `calls` being the least number of full batches that hold them
 * all; and the calls are `interval / calls` apart. So 10,000 connections that were opened together are a thousand every
 * 1.5 s from then on. No connection waits longer than an interval. Heartbeats that failed, and those that a gateway sends
 * because the service did not know it, are sent beside these calls, so that they do not disturb the spread.
 */
export class HeartbeatSchedule {
  readonly #regular = new TimerQueue<Connection>();
  readonly #extra = new TimerQueue<Connection>();
  #intervalMs: number;
  #lastCallAt: number;

  constructor(intervalMs: number, now: number) {
    this.#intervalMs = clamp(intervalMs);
    this.#lastCallAt = now;
  }

  setInterval(intervalMs: number): void {
    this.#intervalMs = clamp(intervalMs);
  }

  /** The service heard of a connection at `now`: its next heartbeat is an interval away at most. */
  add(connection: Connection, now: number): Heartbeat {
    if (this.#regular.size === 0) this.#lastCallAt = now;
    return { queue: this.#regular, timer: this.#regular.add(now + this.#intervalMs, connection) };
  }

  /** Moves a heartbeat: it is sent at `at`. */
  move(heartbeat: Heartbeat, at: number): Heartbeat {
    this.remove(heartbeat);
    return { queue: this.#extra, timer: this.#extra.add(at, heartbeat.timer.item) };
  }

  remove({ queue, timer }: Heartbeat): void {
    queue.remove(timer);
  }

  /** When the next call is due. */
  nextAt(maxBatch: number): number | undefined {
    return earliest(this.#regularAt(maxBatch), this.#extra.firstAt);
  }

  /** Removes and returns the connections to send heartbeats for at `now`; and how many intervals in all they were late: heartbeats that were missed. */
  take(maxBatch: number, now: number): { connections: Connection[]; missed: number } {
    const regularAt = this.#regularAt(maxBatch) ?? Infinity;
    const isExtra = (this.#extra.firstAt ?? Infinity) < regularAt;
    const queue = isExtra ? this.#extra : this.#regular;
    const limit = isExtra ? maxBatch : Math.ceil(this.#regular.size / this.#calls(maxBatch));
    const latest = isExtra ? now : now + this.#intervalMs;
    if (!isExtra) this.#lastCallAt = now;
    const connections: Connection[] = [];
    let missed = 0;
    while (connections.length < limit) {
      const timer = queue.pop(latest);
      if (timer === undefined) break;
      missed += Math.max(0, Math.floor((now - timer.at) / this.#intervalMs));
      connections.push(timer.item);
    }
    return { connections, missed };
  }

  #regularAt(maxBatch: number): number | undefined {
    const firstAt = this.#regular.firstAt;
    if (firstAt === undefined) return undefined;
    return Math.min(firstAt, this.#lastCallAt + this.#intervalMs / this.#calls(maxBatch));
  }

  /** How many calls carry all connections once. */
  #calls(maxBatch: number): number {
    return Math.max(1, Math.ceil(this.#regular.size / maxBatch));
  }
}

/** The earlier of two times, if there is any. */
export function earliest(one: number | undefined, other: number | undefined): number | undefined {
  const at = Math.min(one ?? Infinity, other ?? Infinity);
  return at === Infinity ? undefined : at;
}

function clamp(intervalMs: number): number {
  return Math.min(Math.max(intervalMs, MIN_INTERVAL_MS), MAX_INTERVAL_MS);
}
