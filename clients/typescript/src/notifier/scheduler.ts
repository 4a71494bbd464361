import type { Activity, Connection, Reason, State } from '../types.js';
import { CallLimiter } from './call-limiter.js';
import { earliest, HeartbeatSchedule } from './heartbeat-schedule.js';
import { CallOutcome, isFinal, type BatchResponse, type TaskOutcome } from './outcome.js';
import { PlayerQueue } from './player-queue.js';
import { hasBatches, KINDS, type Call, type Kind, type Task } from './tasks.js';
import { TimerQueue } from './timer-queue.js';
import { PresenceProblem } from '../errors.js';

/** How long a report may wait for others that can share its call. */
const LINGER_MS = 5;

/** How often old tasks are looked for. */
const CLEAN_UP_INTERVAL_MS = 5_000;

/** How soon the failed entries of a batch are sent again: after this time to twice as long, as their Redis node did not respond. */
const FAILED_ENTRIES_RETRY_MS = 1_000;

export interface Timing {
  heartbeatIntervalMs: number;
  ttlMs: number;
  maxBatch: number;
}

/** What the gateway is notified of after a call. */
export interface Notice extends Connection {
  type: 'closed' | 'restored';
}

export interface Counters {
  calls: number;
  failures: number;
  retries: number;
  heartbeats: number;
  restored: number;
  closed: number;
  dropped: number;
}

/** Decides which call is made next, and when. Without I/O and without a clock: times are passed in, in ms. */
export class Scheduler {
  readonly counters: Counters = { calls: 0, failures: 0, retries: 0, heartbeats: 0, restored: 0, closed: 0, dropped: 0 };
  /** Disconnects and states that were refused or given up since the drain began. */
  refused = 0;
  #players = new Map<string, PlayerQueue>();
  #waiting = new Map<Kind, TimerQueue<string>>(KINDS.map((kind) => [kind, new TimerQueue<string>()]));
  #limiters = new Map<Kind, CallLimiter>(KINDS.map((kind) => [kind, new CallLimiter(hasBatches(kind) ? 4 : 32)]));
  #heartbeats: HeartbeatSchedule;
  #ttlMs: number;
  #maxBatch: number;
  #inFlight = 0;
  #cleanedUpAt: number;
  #failedAgainAt: number;
  #gatewayUnknownAt = -Infinity;
  #isDraining = false;
  #isPaused = false;

  constructor(timing: Timing, now: number) {
    this.#heartbeats = new HeartbeatSchedule(timing.heartbeatIntervalMs, now);
    this.#ttlMs = timing.ttlMs;
    this.#maxBatch = timing.maxBatch;
    this.#cleanedUpAt = now;
    this.#failedAgainAt = now;
  }

  get openConnections(): number {
    return [...this.#players.values()].reduce((sum, player) => sum + player.open.size, 0);
  }

  /** The number of tasks that are not delivered yet, except heartbeats. */
  get queueLength(): number {
    return [...this.#players.values()].reduce((sum, player) => sum + player.size, 0);
  }

  /** Whether no call is in flight. */
  get isIdle(): boolean {
    return this.#inFlight === 0;
  }

  connected({ playerId, connectionId }: Connection, now: number): void {
    if (this.#isDraining) return;
    this.#playerOf(playerId).connect(connectionId, now);
    this.#schedule(playerId, now + LINGER_MS);
  }

  disconnected({ playerId, connectionId }: Connection, reason: Reason, now: number): void {
    const player = this.#players.get(playerId);
    if (player === undefined) return;
    const heartbeat = player.disconnect(connectionId, reason, now);
    if (heartbeat !== undefined) this.#heartbeats.remove(heartbeat);
    this.#schedule(playerId, now + LINGER_MS);
  }

  stateChanged(playerId: string, state: State, now: number): void {
    this.#playerOf(playerId).setState(state, now);
    this.#schedule(playerId, now + LINGER_MS);
  }

  activityChanged(playerId: string, activity: Activity | null, now: number): void {
    if (this.#players.get(playerId)?.setActivity(activity)) this.#schedule(playerId, now + LINGER_MS);
  }

  /** Takes no new connections from now on. */
  beginDrain(): void {
    this.#isDraining = true;
    this.refused = 0;
  }

  /** Disconnects all that is open. */
  disconnectAll(reason: Reason, now: number): void {
    for (const [playerId, { open }] of [...this.#players]) {
      for (const connectionId of [...open.keys()]) this.disconnected({ playerId, connectionId }, reason, now);
    }
  }

  /** Sends no heartbeats from now on. */
  stopHeartbeats(): void {
    this.#isPaused = true;
  }

  /** The service does not know the gateway: each open connection gets a heartbeat, in batches. */
  announceAll(now: number): void {
    this.#gatewayUnknownAt = now;
    for (const player of this.#players.values()) {
      for (const connection of player.open.values()) {
        if (connection.heartbeat) connection.heartbeat = this.#heartbeats.move(connection.heartbeat, now);
      }
    }
  }

  /** Ends the pauses after calls that failed: there is a new reason to expect success. */
  endPauses(now: number): void {
    this.#limiters.forEach((limiter) => limiter.endPause(now));
  }

  /** A call to make now. Its result has to be settled. */
  nextCall(now: number): Call | undefined {
    this.#giveUpOldTasks(now);
    const kind = KINDS.find((candidate) => (this.#callAt(candidate) ?? Infinity) <= now);
    if (kind === undefined) return undefined;
    const tasks = kind === 'heartbeat' ? this.#takeHeartbeats(now) : this.#take(kind, now);
    this.#limiter(kind).begin();
    this.#inFlight += 1;
    this.counters.calls += 1;
    return { kind, tasks, sentAt: now };
  }

  /** When to ask for the next call, if nothing happens until then. */
  get nextCallAt(): number | undefined {
    return KINDS.map((kind) => this.#callAt(kind)).reduce<number | undefined>(earliest, undefined);
  }

  /** False while a kind of call that has tasks is failing. */
  get isWell(): boolean {
    return KINDS.every((kind) => {
      const limiter = this.#limiter(kind);
      return !limiter.isFailing || (limiter.isIdle && this.#readyAt(kind) === undefined);
    });
  }

  /** Takes the response to a call, or the error. Returns what the gateway is notified of. */
  settle(call: Call, result: { response: BatchResponse } | { error: unknown }, now: number): Notice[] {
    this.#inFlight -= 1;
    const outcome =
      'response' in result ? CallOutcome.ofResponse(result.response) : CallOutcome.ofError(call, result.error);
    let againAt = now;
    if ('response' in result) {
      this.#settleSuccess(call.kind, result.response);
      againAt = this.#nextFailedAgainAt(now);
    } else {
      this.#settleFailure(call.kind, result.error, now);
    }
    if (outcome.wasTooLarge) this.#maxBatch = Math.max(1, Math.min(this.#maxBatch, Math.floor(call.tasks.length / 2)));
    const notices: Notice[] = [];
    for (const { playerId, task } of call.tasks) {
      const taskOutcome = outcome.of(playerId, task);
      this.#count(task, taskOutcome);
      const notice = this.#settleTask(playerId, task, taskOutcome, call.sentAt, now, againAt);
      if (notice !== undefined) notices.push(notice);
    }
    this.counters.closed += notices.filter(({ type }) => type === 'closed').length;
    return notices;
  }

  #settleSuccess(kind: Kind, response: BatchResponse): void {
    this.#limiter(kind).succeeded();
    if (response.heartbeat_interval_ms !== undefined) this.#heartbeats.setInterval(response.heartbeat_interval_ms);
    if (response.ttl_ms !== undefined) this.#ttlMs = response.ttl_ms;
    this.counters.restored += response.restored?.length ?? 0;
  }

  #settleFailure(kind: Kind, error: unknown, now: number): void {
    this.counters.failures += 1;
    if (isFinal(error)) this.#limiter(kind).succeeded();
    else this.#limiter(kind).failed(now, error instanceof PresenceProblem ? error.retryAfterMs : undefined);
  }

  #settleTask(
    playerId: string,
    task: Task,
    outcome: TaskOutcome,
    sentAt: number,
    now: number,
    againAt: number,
  ): Notice | undefined {
    const player = this.#players.get(playerId);
    if (player === undefined) return undefined;
    endTask(player, task, outcome);
    const notice = 'connectionId' in task ? this.#settleLease(playerId, player, task, outcome, sentAt, now, againAt) : undefined;
    this.#schedule(playerId, outcome === 'again' ? againAt : now);
    return notice;
  }

  /** What the outcome of a connect or heartbeat means for the connection's lease. */
  #settleLease(
    playerId: string,
    player: PlayerQueue,
    task: Extract<Task, { connectionId: string }>,
    outcome: TaskOutcome,
    sentAt: number,
    now: number,
    againAt: number,
  ): Notice | undefined {
    if (task.type === 'disconnect') return undefined;
    const connection: Connection = { playerId, connectionId: task.connectionId };
    if (outcome === 'done' || outcome === 'restored') player.renewed(task.connectionId, sentAt, this.#ttlMs, now);
    const open = player.open.get(task.connectionId);
    if (outcome === 'closed' || outcome === 'invalid') {
      if (open === undefined) return undefined;
      player.open.delete(task.connectionId);
      if (open.heartbeat) this.#heartbeats.remove(open.heartbeat);
      if (outcome === 'invalid') return undefined;
      player.forgetState();
      return { type: 'closed', ...connection };
    }
    if (task.type === 'connect') {
      // A connect that was refused is made up for by the next heartbeat.
      if (open === undefined || outcome === 'again') return undefined;
      open.heartbeat = this.#heartbeats.add(connection, now);
      // The call did not name the gateway, or the service may have lost what it reported.
      if (sentAt < this.#gatewayUnknownAt) open.heartbeat = this.#heartbeats.move(open.heartbeat, now);
      return undefined;
    }
    if (outcome === 'again' && open?.heartbeat) open.heartbeat = this.#heartbeats.move(open.heartbeat, againAt);
    if (outcome !== 'restored') return undefined;
    player.reportStateAgain(now);
    return open && { type: 'restored', ...connection };
  }

  #count(task: Task, outcome: TaskOutcome): void {
    const isHeartbeat = task.type === 'heartbeat';
    if (isHeartbeat && (outcome === 'done' || outcome === 'restored')) this.counters.heartbeats += 1;
    else if (isHeartbeat && outcome === 'again') this.counters.retries += 1;
    const isLost = outcome === 'refused' || outcome === 'invalid';
    if (isLost || outcome === 'rejected') this.counters.dropped += 1;
    if (isLost && (task.type === 'disconnect' || task.type === 'state')) this.refused += 1;
  }

  /**
   * Twice a lease's time after a task was reported, all that it could change has expired by itself: a connection that
   * could not be closed no longer counts; one that could not be opened is restored by its heartbeats; and the state of a
   * player who is no longer connected would be set on another record than the one that was meant.
   */
  #giveUpOldTasks(now: number): void {
    if (now < this.#cleanedUpAt + CLEAN_UP_INTERVAL_MS) return;
    this.#cleanedUpAt = now;
    const oldest = now - 2 * this.#ttlMs;
    for (const [playerId, player] of [...this.#players]) {
      for (let task = player.waitingSince(oldest); task !== undefined; task = player.waitingSince(oldest)) {
        if (!player.keepState(now)) {
          this.#settleTask(playerId, task, 'refused', now, now, now);
          this.counters.dropped += 1;
          this.refused += 1;
        }
        this.#schedule(playerId, now);
      }
      if (player.canBeForgotten(now)) this.#players.delete(playerId);
    }
  }

  #take(kind: Kind, now: number): Call['tasks'] {
    const limit = hasBatches(kind) ? this.#maxBatch : 1;
    const tasks: Call['tasks'] = [];
    while (tasks.length < limit) {
      const playerId = this.#queue(kind).pop(now + LINGER_MS)?.item;
      if (playerId === undefined) break;
      const player = this.#players.get(playerId);
      if (player === undefined) continue;
      player.waiting = undefined;
      const started = player.start(now);
      if (started === undefined) continue;
      if (started.wasSent) this.counters.retries += 1;
      tasks.push({ playerId, task: started.task });
    }
    return tasks;
  }

  #takeHeartbeats(now: number): Call['tasks'] {
    const { connections, missed } = this.#heartbeats.take(this.#maxBatch, now);
    this.counters.dropped += missed;
    return connections.map((connection) => {
      const open = this.#players.get(connection.playerId)?.open.get(connection.connectionId);
      if (open !== undefined) open.heartbeat = this.#heartbeats.add(connection, now);
      return { playerId: connection.playerId, task: { type: 'heartbeat', connectionId: connection.connectionId } };
    });
  }

  #callAt(kind: Kind): number | undefined {
    const readyAt = this.#readyAt(kind);
    return readyAt === undefined ? undefined : this.#limiter(kind).readyAt(readyAt);
  }

  #readyAt(kind: Kind): number | undefined {
    if (kind !== 'heartbeat') return this.#queue(kind).firstAt;
    return this.#isPaused ? undefined : this.#heartbeats.nextAt(this.#maxBatch);
  }

  /** One time for all that failed recently, so that few calls are enough. */
  #nextFailedAgainAt(now: number): number {
    if (this.#failedAgainAt <= now) this.#failedAgainAt = now + FAILED_ENTRIES_RETRY_MS * (1 + Math.random());
    return this.#failedAgainAt;
  }

  /** Has a player wait for the call that its first task needs; from `at` on, if it did not wait for it already. */
  #schedule(playerId: string, at: number): void {
    const player = this.#players.get(playerId);
    if (player === undefined) return;
    const next = player.next(at);
    if (player.waiting !== undefined && player.waiting.kind !== next?.kind) {
      this.#queue(player.waiting.kind).remove(player.waiting.timer);
      player.waiting = undefined;
    }
    if (next !== undefined) {
      player.waiting ??= { kind: next.kind, timer: this.#queue(next.kind).add(next.at, playerId) };
    } else if (player.canBeForgotten(at)) {
      this.#players.delete(playerId);
    }
  }

  #playerOf(playerId: string): PlayerQueue {
    const player = this.#players.get(playerId) ?? new PlayerQueue();
    this.#players.set(playerId, player);
    return player;
  }

  #queue(kind: Kind): TimerQueue<string> {
    return this.#waiting.get(kind) as TimerQueue<string>;
  }

  #limiter(kind: Kind): CallLimiter {
    return this.#limiters.get(kind) as CallLimiter;
  }
}

/** A call with the task has ended. */
function endTask(player: PlayerQueue, task: Task, outcome: TaskOutcome): void {
  if (task.type === 'heartbeat') return;
  if (task.type === 'activity') {
    if (outcome === 'again') player.requeueActivity();
    else player.finishActivity(outcome === 'refused' || outcome === 'invalid');
  } else if (outcome === 'again') player.requeue();
  else player.finish();
}
