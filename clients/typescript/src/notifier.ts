import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';

import { GatewayLease, isUnsupported } from './notifier/gateway-lease.js';
import { isFinal, isGatewayIdRefused, type BatchResponse } from './notifier/outcome.js';
import { Scheduler, type Counters, type Notice } from './notifier/scheduler.js';
import { bodyOf, namesGateway, pathOf, type Call } from './notifier/tasks.js';
import { PresenceProblem } from './errors.js';
import { Transport, type Endpoint } from './transport.js';
import { checkConnectionId, checkPlayerId, type Activity, type Reason, type State } from './types.js';

/** The most entries that the service accepts in one call, and how many are sent unless the caller says otherwise. */
const MAX_BATCH = 2_000;
const DEFAULT_BATCH = 1_000;

/** How long setTimeout waits at most, in ms. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * What a gateway reports of its sockets. No method waits, does I/O or depends on the service. A gateway without a service
 * uses a `NoopNotifier`.
 */
export interface Notifier {
  /** A player's socket is open, under an id that was never used before. */
  connected(playerId: string, connectionId: string): void;
  /** A player's socket is closed. */
  disconnected(playerId: string, connectionId: string, reason: Reason): void;
  /** A player has another state. `OFFLINE` signs the player out on every device. */
  stateChanged(playerId: string, state: State): void;
  /** A player with an open socket here has another activity; `null` removes it. */
  activityChanged(playerId: string, activity: Activity | null): void;
}

/** Reports nothing. */
export class NoopNotifier implements Notifier {
  connected(): void {}
  disconnected(): void {}
  stateChanged(): void {}
  activityChanged(): void {}
}

export interface NotifierOptions {
  /**
   * The id of this run of the gateway, new at every start of its process. By default it is made of the host's name and a
   * random part. `false`: the gateway has no lease of its own, and a crash is noticed when its connections expire.
   */
  gatewayId?: string | false;
  /** How often a connection is reported, in ms, until the service says how often (default 15,000). */
  heartbeatIntervalMs?: number;
  /** How long a connection counts after its last heartbeat, in ms, until the service says how long (default 45,000). */
  ttlMs?: number;
  /** The most entries of one call, 1 to 2,000 (default 1,000). */
  maxBatch?: number;
  /** Called if the service closed an open connection, because the player was signed out or has too many: close its socket. */
  onClosed?: (playerId: string, connectionId: string) => void;
  /** Called if the service had lost an open connection and has it again. The last state and activity are reported again without that. */
  onRestored?: (playerId: string, connectionId: string) => void;
  /** Where failures are logged, once per episode (default: the console). */
  logger?: Pick<Console, 'info' | 'warn' | 'error'>;
}

/** What an `HttpNotifier` has done since its start, and what it has to do. */
export interface NotifierStats extends Counters {
  openConnections: number;
  /** Connects, disconnects, states and activities that are not delivered yet. */
  queueLength: number;
}

/** Some of what `drain` had to report was refused, or not delivered in time. The leases expire by themselves. */
export class UndeliveredError extends Error {
  override readonly name = 'UndeliveredError';

  constructor(readonly tasks: number) {
    super(`${tasks} reports were refused, or not delivered in time`);
  }
}

/**
 * Reports a gateway's sockets to the presence service: in batches, with heartbeats that are spread evenly, and repeated
 * until they are delivered or too old to matter. A service that is down costs the gateway nothing but bounded memory.
 */
export class HttpNotifier implements Notifier {
  readonly #transport: Transport;
  readonly #scheduler: Scheduler;
  readonly #options: NotifierOptions;
  readonly #logger: Pick<Console, 'info' | 'warn' | 'error'>;
  #lease: GatewayLease | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isPumpScheduled = false;
  #loggedCauses = new Set<string>();
  /** A callback threw before. */
  #hasThrown = false;
  #waiters: (() => void)[] = [];

  constructor(endpoint: Endpoint, options: NotifierOptions = {}) {
    this.#options = options;
    this.#logger = options.logger ?? console;
    this.#transport = new Transport(endpoint);
    const timing = {
      heartbeatIntervalMs: options.heartbeatIntervalMs ?? 15_000,
      ttlMs: options.ttlMs ?? 45_000,
      maxBatch: Math.min(Math.max(options.maxBatch ?? DEFAULT_BATCH, 1), MAX_BATCH),
    };
    this.#scheduler = new Scheduler(timing, performance.now());
    const gatewayId = options.gatewayId ?? generatedGatewayId();
    if (gatewayId !== false) this.#lease = this.#startLease(gatewayId);
  }

  /** The id under which the service knows this gateway, if it has a lease. */
  get gatewayId(): string | undefined {
    return this.#lease?.isSupported ? this.#lease.gatewayId : undefined;
  }

  connected(playerId: string, connectionId: string): void {
    checkPlayerId(playerId);
    checkConnectionId(connectionId);
    this.#change((now) => this.#scheduler.connected({ playerId, connectionId }, now));
  }

  disconnected(playerId: string, connectionId: string, reason: Reason): void {
    this.#change((now) => this.#scheduler.disconnected({ playerId, connectionId }, reason, now));
  }

  stateChanged(playerId: string, state: State): void {
    checkPlayerId(playerId);
    this.#change((now) => this.#scheduler.stateChanged(playerId, state, now));
  }

  activityChanged(playerId: string, activity: Activity | null): void {
    this.#change((now) => this.#scheduler.activityChanged(playerId, activity, now));
  }

  /** Sends this token with every call from now on. Calls that wait because the previous one was not accepted are sent at once. */
  setToken(token: string): void {
    this.#transport.setToken(token);
    this.#change((now) => this.#scheduler.endPauses(now));
  }

  stats(): NotifierStats {
    const { counters, openConnections, queueLength } = this.#scheduler;
    return { ...counters, openConnections, queueLength };
  }

  /**
   * For the end of the gateway: delivers what waits, and ends all its connections. With a lease that is one call, and
   * after `moving` the players' friends do not notice if they connect elsewhere within the service's move grace. New
   * connections are not taken any more.
   *
   * Rejects with an `UndeliveredError` if something was refused, or `timeoutMs` passed first.
   */
  async drain(reason: Reason, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    this.#scheduler.beginDrain();
    const lease = this.#lease;
    const left = lease?.isSupported === true && (await this.#leave(reason, deadline));
    if (!left) {
      lease?.stop();
      // A service without leases of gateways does not know `moving`.
      const disconnectReason = reason === 'moving' && lease?.isSupported === false ? 'lost' : reason;
      this.#change((now) => this.#scheduler.disconnectAll(disconnectReason, now));
      await this.#until(() => this.#scheduler.queueLength === 0, deadline);
    }
    const undelivered = this.#scheduler.refused + this.#scheduler.queueLength;
    this.#stop();
    if (undelivered > 0) throw new UndeliveredError(undelivered);
  }

  /** Ends at once. What is not delivered yet is lost, and the service ends the connections when their leases expire. */
  close(): void {
    this.#lease?.stop();
    this.#scheduler.stopHeartbeats();
    this.#stop();
  }

  /** Ends the gateway's lease and with it those of its connections. Returns whether all open connections have ended. */
  async #leave(reason: Reason, deadline: number): Promise<boolean> {
    // A heartbeat or connect that arrived after the end would open its connection again.
    this.#scheduler.stopHeartbeats();
    this.#pump();
    const isQuiet = () => this.#scheduler.isIdle && this.#scheduler.queueLength === 0;
    if (!(await this.#until(isQuiet, deadline))) return false;
    const reported = this.#scheduler.openConnections;
    while (performance.now() < deadline) {
      try {
        // If fewer ended, the service did not assign some to the gateway: all are disconnected, which changes nothing for the others.
        return ((await this.#lease?.leave(reason)) ?? 0) >= reported;
      } catch (error) {
        if (isFinal(error) || isUnsupported(error)) return false;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
    return false;
  }

  #startLease(gatewayId: string): GatewayLease {
    return new GatewayLease(gatewayId, this.#transport, {
      onNew: () => this.#change((now) => this.#scheduler.announceAll(now)),
      onRenewed: () => this.#logSuccess(),
      onFailed: (error) => this.#logFailure('gateway', error),
      onUnsupported: () =>
        this.#logger.warn('the presence service does not support leases of gateways; connections are reported without one'),
    });
  }

  #change(change: (now: number) => void): void {
    change(performance.now());
    // Once for all changes of this turn of the event loop.
    if (this.#isPumpScheduled) return;
    this.#isPumpScheduled = true;
    queueMicrotask(() => this.#pump());
  }

  /** Makes the calls that are due, and sets the timer for the next one. */
  #pump(): void {
    this.#isPumpScheduled = false;
    clearTimeout(this.#timer);
    for (let call = this.#scheduler.nextCall(performance.now()); call; call = this.#scheduler.nextCall(performance.now())) {
      void this.#make(call);
    }
    const nextCallAt = this.#scheduler.nextCallAt;
    if (nextCallAt === undefined) return;
    const delay = Math.min(Math.max(Math.ceil(nextCallAt - performance.now()), 0), MAX_TIMEOUT_MS);
    this.#timer = setTimeout(() => this.#pump(), delay);
    // The gateway's sockets keep the process alive, not their heartbeats.
    this.#timer.unref();
  }

  async #make(scheduled: Call): Promise<void> {
    // Connections that were reported before the lease are announced with it.
    const call = namesGateway(scheduled.kind) ? { ...scheduled, gatewayId: this.#lease?.idForCalls } : scheduled;
    let notices: Notice[];
    try {
      const response = (await this.#transport.post(pathOf(call.kind), bodyOf(call))) as BatchResponse;
      notices = this.#scheduler.settle(call, { response }, performance.now());
      this.#logSuccess();
    } catch (error) {
      notices = this.#scheduler.settle(call, { error }, performance.now());
      if (isGatewayIdRefused(call, error)) this.#lease?.idWasRefused();
      else this.#logFailure(call.kind, error);
    }
    this.#pump();
    notices.forEach((notice) => this.#notify(notice));
    this.#waiters.forEach((check) => check());
  }

  #notify({ type, playerId, connectionId }: Notice): void {
    try {
      const callback = type === 'closed' ? this.#options.onClosed : this.#options.onRestored;
      callback?.(playerId, connectionId);
    } catch (error) {
      // One callback that throws does not keep the gateway from the other notices.
      if (this.#hasThrown) return;
      this.#hasThrown = true;
      this.#logger.error('a callback of the presence notifier threw; further errors of callbacks are not logged', error);
    }
  }

  /** Waits for a condition, until the deadline at most. Returns whether it holds. */
  async #until(condition: () => boolean, deadline: number): Promise<boolean> {
    if (condition()) return true;
    let check = () => {};
    const isMet = new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(condition()), Math.max(0, deadline - performance.now()));
      check = () => {
        if (!condition()) return;
        clearTimeout(timer);
        resolve(true);
      };
      this.#waiters.push(check);
    });
    return isMet.finally(() => (this.#waiters = this.#waiters.filter((waiter) => waiter !== check)));
  }

  #logFailure(kind: string, error: unknown): void {
    const status = error instanceof PresenceProblem ? error.status : undefined;
    if (status === 409 || status === 410) return; // the caller's, and no failure
    const message = error instanceof Error ? error.message : String(error);
    if (isFinal(error)) this.#logOnce('invalid', () => this.#logger.warn(`presence call refused, and not repeated as it is (${kind}): ${message}`));
    else if (status !== undefined && status < 500 && status !== 408 && status !== 429) {
      this.#logOnce('unauthorized', () => this.#logger.warn(`presence calls are not accepted, and repeated (${kind}): ${message}`));
    } else this.#logOnce('unavailable', () => this.#logger.warn(`presence calls fail, and are repeated (${kind}): ${message}`));
  }

  #logSuccess(): void {
    if (this.#loggedCauses.size === 0 || !this.#scheduler.isWell || this.#lease?.isFailing) return;
    this.#loggedCauses.clear();
    this.#logger.info('presence calls succeed again');
  }

  /** Logs each cause once per episode. */
  #logOnce(cause: string, log: () => void): void {
    if (this.#loggedCauses.has(cause)) return;
    this.#loggedCauses.add(cause);
    log();
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#transport.close();
  }
}

/** At most 64 characters, all of which may stand in a gateway's id. */
function generatedGatewayId(): string {
  const host = hostname().replace(/[^A-Za-z0-9._-]/g, '-').slice(0, 40);
  return `${host}-${randomUUID().slice(0, 23)}`;
}
