import type { Activity, Reason, State } from '../types.js';
import type { Heartbeat } from './heartbeat-schedule.js';
import { LatestActivity } from './latest-activity.js';
import { kindOf, type Kind, type Task } from './tasks.js';
import type { Timer } from './timer-queue.js';

interface OpenConnection {
  /** Its next heartbeat, from when the service knows the connection. */
  heartbeat?: Heartbeat;
  /** When the last call was sent by which the service renewed the lease. */
  renewedAt: number;
}

interface QueuedTask {
  task: Task;
  since: number;
  wasSent: boolean;
}

/**
 * One player's open connections, and what is still to be reported about the player: first in, first out, one call at a
 * time. Holds at most two tasks per connection, three about the state and one about the activity.
 */
export class PlayerQueue {
  readonly open = new Map<string, OpenConnection>();
  /** Where the queue waits for its first task to be sent. */
  waiting: { kind: Kind; timer: Timer<string> } | undefined;
  readonly #activity = new LatestActivity();
  #tasks: QueuedTask[] = [];
  /** The last state that the gateway reported: sent again if the service loses the player's record. */
  #state: State | undefined;
  #isInFlight = false;

  get size(): number {
    return this.#tasks.length + this.#activity.tasks;
  }

  /** Whether there is nothing to report, now or soon, and a change of the activity could be sent at once if the player reconnects. */
  canBeForgotten(now: number): boolean {
    const isEmpty = this.open.size === 0 && this.#tasks.length === 0 && !this.#activity.isInFlight;
    return isEmpty && !this.#activity.hasToWait(now);
  }

  connect(connectionId: string, now: number): void {
    if (this.open.has(connectionId)) return;
    this.open.set(connectionId, { renewedAt: -Infinity });
    this.#push({ type: 'connect', connectionId }, now);
  }

  /** Returns the heartbeat that is no longer needed. A connection that was never reported needs no disconnect. */
  disconnect(connectionId: string, reason: Reason, now: number): Heartbeat | undefined {
    const connection = this.open.get(connectionId);
    if (connection === undefined) return undefined;
    this.open.delete(connectionId);
    if (this.open.size === 0) {
      this.#state = undefined;
      this.#activity.forget();
    }
    const index = this.#tasks.findIndex(
      ({ task }, position) => position >= this.#firstWaiting && task.type === 'connect' && task.connectionId === connectionId,
    );
    const connect = this.#tasks[index];
    if (connect !== undefined) {
      this.#tasks.splice(index, 1);
      this.#mendFrom(index);
    }
    if (connect === undefined || connect.wasSent) this.#push({ type: 'disconnect', connectionId, reason }, now);
    return connection.heartbeat;
  }

  /** The latest state replaces one that still waits, except a sign-out, which closes connections, too. */
  setState(state: State, now: number): void {
    const isReplaced = ({ task }: QueuedTask) => task.type === 'state' && (task.state !== 'OFFLINE' || state === 'OFFLINE');
    this.#tasks = this.#tasks.filter((queued, index) => index < this.#firstWaiting || !isReplaced(queued));
    this.#state = state === 'OFFLINE' ? undefined : state;
    if (state === 'OFFLINE') this.#activity.forget();
    this.#push({ type: 'state', state }, now);
  }

  /** Returns whether the activity is sent: only that of a connected player, as an OFFLINE player can have none. */
  setActivity(activity: Activity | null): boolean {
    if (this.open.size === 0) return false;
    this.#activity.set(activity);
    return true;
  }

  /**
   * The service renewed a connection's lease by a call that was sent at `sentAt`. If it had no lease of the player left
   * before, it may have lost the record and with it the state, also if the response that said so did not arrive.
   */
  renewed(connectionId: string, sentAt: number, ttlMs: number, now: number): void {
    const hasLease = [...this.open.values()].some(({ renewedAt }) => now < renewedAt + ttlMs);
    if (!hasLease) this.reportStateAgain(now);
    const connection = this.open.get(connectionId);
    if (connection !== undefined) connection.renewedAt = Math.max(connection.renewedAt, sentAt);
  }

  /** The service lost the player's record: state and activity are sent again, unless newer ones wait anyway. */
  reportStateAgain(now: number): void {
    this.#activity.reportAgain();
    if (this.#state !== undefined && this.#waitingState === undefined) this.#push({ type: 'state', state: this.#state }, now);
  }

  /** The service closed a connection, as it does with all connections of a player who is signed out: of the states, only one that waits counts. */
  forgetState(): void {
    const waiting = this.#waitingState;
    this.#activity.forget();
    this.#state = waiting === 'OFFLINE' ? undefined : waiting;
  }

  /** Moves the first task behind the others if it is the state of a connected player: it is not given up while it is true, and holds up nothing. */
  keepState(now: number): boolean {
    const first = this.#tasks[0];
    if (this.open.size === 0 || first?.task.type !== 'state' || first.task.state !== this.#state) return false;
    this.#tasks.push({ ...first, since: now });
    this.#tasks.shift();
    return true;
  }

  /** The kind of the next call, and when it may be made if that is from `at` on; `undefined` while one is in flight. The activity comes last. */
  next(at: number): { kind: Kind; at: number } | undefined {
    if (this.#isBusy) return undefined;
    const first = this.#tasks[0];
    if (first !== undefined) return { kind: kindOf(first.task), at };
    const readyAt = this.#activity.readyAt(at);
    return readyAt === undefined ? undefined : { kind: 'activity', at: readyAt };
  }

  /** The first task, if it has waited since `oldest` or longer. */
  waitingSince(oldest: number): Task | undefined {
    const first = this.#tasks[0];
    return first !== undefined && !this.#isBusy && first.since <= oldest ? first.task : undefined;
  }

  /** The task that is sent now, and whether it was sent before. */
  start(now: number): { task: Task; wasSent: boolean } | undefined {
    const first = this.#tasks[0];
    if (first === undefined) {
      const started = this.#activity.start(now);
      return started && { task: { type: 'activity', activity: started.activity }, wasSent: started.wasSent };
    }
    const wasSent = first.wasSent;
    first.wasSent = true;
    this.#isInFlight = true;
    return { task: first.task, wasSent };
  }

  /** The first task is sent again, unless it is a connect whose disconnect waits. */
  requeue(): void {
    this.#isInFlight = false;
    const task = this.#tasks[0]?.task;
    if (task?.type === 'connect' && !this.open.has(task.connectionId)) {
      this.#tasks.shift();
      this.#mendFrom(0);
    }
  }

  /** The first task has ended. */
  finish(): void {
    this.#isInFlight = false;
    this.#tasks.shift();
  }

  requeueActivity(): void {
    this.#activity.requeue();
  }

  finishActivity(wasRefused: boolean): void {
    this.#activity.finish(wasRefused);
  }

  get #isBusy(): boolean {
    return this.#isInFlight || this.#activity.isInFlight;
  }

  get #firstWaiting(): number {
    return this.#isInFlight ? 1 : 0;
  }

  /** The newest state that waits to be sent. */
  get #waitingState(): State | undefined {
    const waiting = this.#tasks.slice(this.#firstWaiting).findLast(({ task }) => task.type === 'state')?.task;
    return waiting?.type === 'state' ? waiting.state : undefined;
  }

  #push(task: Task, now: number): void {
    this.#tasks.push({ task, since: now, wasSent: false });
  }

  /**
   * A connect at `index` was taken back. The states after it need another connection: without one they would be rejected,
   * or make a player ONLINE or AWAY who is not connected.
   */
  #mendFrom(index: number): void {
    const isState = ({ task }: QueuedTask) => task.type === 'state' && task.state !== 'OFFLINE';
    let end = index;
    while (end < this.#tasks.length && isState(this.#tasks[end] as QueuedTask)) end += 1;
    const next = this.#tasks[end];
    if (next?.task.type === 'connect') {
      // Connects of distinct connections may change places with states.
      this.#tasks.splice(end, 1);
      this.#tasks.splice(index, 0, next);
      return;
    }
    const later = new Set(this.#tasks.slice(index).flatMap(({ task }) => (task.type === 'connect' ? task.connectionId : [])));
    const hasConnection = [...this.open.keys()].some((id) => !later.has(id));
    if (!hasConnection) this.#tasks.splice(index, end - index);
  }
}
