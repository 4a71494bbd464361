import { PresenceProblem } from '../errors.js';
import type { Transport } from '../transport.js';
import type { Reason } from '../types.js';

/** How often the lease is renewed until the service says how often. */
const FIRST_INTERVAL_MS = 2_500;

/** How soon a renewal that failed is repeated. */
const RETRY_MS = 500;

/** The longest pause between two attempts to renew a lease that the service does not support. */
const MAX_UNSUPPORTED_PAUSE_MS = 60_000;

/** How long calls name no gateway after a server refused its id: servers of two versions may share an address. */
const UNNAMED_MS = 60_000;

interface RenewalResponse {
  status: 'new' | 'alive';
  ttl_ms: number;
  heartbeat_interval_ms: number;
}

interface LeaveResponse {
  /** How many leases of connections ended with that of the gateway. */
  connections?: number;
}

/** Is notified of what becomes of a lease. */
export interface LeaseListener {
  /** The service did not know the gateway or did not support its lease before, or this is the first renewal. */
  onNew(): void;
  /** The lease was renewed. */
  onRenewed(): void;
  /** A renewal failed, and is repeated. */
  onFailed(error: unknown): void;
  /** A server does not support leases of gateways, for the first time. Renewals are tried again. */
  onUnsupported(): void;
}

/** The gateway's own lease: when it expires because the gateway crashed, the service ends the leases of its connections. */
export class GatewayLease {
  readonly #transport: Transport;
  readonly #listener: LeaseListener;
  #intervalMs = FIRST_INTERVAL_MS;
  #timer: NodeJS.Timeout | undefined;
  #renewal: Promise<void> | undefined;
  #hasEnded = false;
  #wasRenewed = false;
  #validUntil = -Infinity;
  #isFailing = false;
  #wasUnsupported = false;
  /** Calls name no gateway until then. */
  #unnamedUntil = -Infinity;
  /** The pause until the next attempt, while the service does not support leases of gateways. */
  #unsupportedPauseMs: number | undefined;

  constructor(readonly gatewayId: string, transport: Transport, listener: LeaseListener) {
    this.#transport = transport;
    this.#listener = listener;
    this.#renew();
  }

  /** The gateway's id, if calls about connections may name it: the service has accepted the lease, and no server refused the id recently. */
  get idForCalls(): string | undefined {
    const isAccepted = this.#wasRenewed && this.isSupported && performance.now() >= this.#unnamedUntil;
    return isAccepted ? this.gatewayId : undefined;
  }

  /** Whether the service supports leases of gateways, as far as is known. */
  get isSupported(): boolean {
    return this.#unsupportedPauseMs === undefined;
  }

  /** Whether the last renewal failed. */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  /** A server refused a call because it names the gateway. */
  idWasRefused(): void {
    this.#unnamedUntil = performance.now() + UNNAMED_MS;
    this.#notifyUnsupported();
  }

  /** Stops the renewals. */
  stop(): void {
    this.#hasEnded = true;
    clearTimeout(this.#timer);
  }

  /** Ends the lease and those of all its connections, in one call. Returns how many leases of connections ended. */
  async leave(reason: Reason): Promise<number> {
    this.stop();
    await this.#renewal; // a renewal that arrives later would begin another lease
    try {
      const body = { gateway_id: this.gatewayId, leaving: reason };
      const { connections = 0 } = (await this.#transport.post('/presence/gateway', body)) as LeaveResponse;
      return connections;
    } catch (error) {
      if (isUnsupported(error)) this.#unsupportedPauseMs ??= this.#intervalMs;
      throw error;
    }
  }

  #renew(): void {
    this.#renewal = this.#renewOnce().then((nextInMs) => {
      if (this.#hasEnded) return;
      this.#timer = setTimeout(() => this.#renew(), nextInMs);
      this.#timer.unref();
    });
  }

  /** Returns when to renew next, in ms. */
  async #renewOnce(): Promise<number> {
    const sentAt = performance.now();
    try {
      const response = (await this.#transport.post('/presence/gateway', { gateway_id: this.gatewayId })) as RenewalResponse;
      // Calls before the first renewal did not name the gateway, so their connections are announced, too.
      const isNew = response.status === 'new' || !this.#wasRenewed || !this.isSupported;
      this.#intervalMs = response.heartbeat_interval_ms;
      this.#wasRenewed = true;
      this.#validUntil = sentAt + response.ttl_ms;
      this.#unsupportedPauseMs = undefined;
      this.#isFailing = false;
      this.#listener.onRenewed();
      if (isNew) this.#unnamedUntil = -Infinity;
      if (isNew && !this.#hasEnded) this.#listener.onNew();
      return this.#intervalMs;
    } catch (error) {
      if (isUnsupported(error)) return this.#pauseUnsupported();
      this.#isFailing = true;
      this.#listener.onFailed(error);
      return Math.min(RETRY_MS, this.#intervalMs);
    }
  }

  /**
   * Returns the pause after a response of a service without leases of gateways. While the lease is valid, it is renewed
   * again soon, since servers of two versions may share an address; after that, less and less often.
   */
  #pauseUnsupported(): number {
    this.#isFailing = false;
    this.#notifyUnsupported();
    if (performance.now() < this.#validUntil) return Math.min(RETRY_MS, this.#intervalMs);
    const doubledMs = this.#unsupportedPauseMs === undefined ? this.#intervalMs : 2 * this.#unsupportedPauseMs;
    this.#unsupportedPauseMs = Math.min(doubledMs, MAX_UNSUPPORTED_PAUSE_MS);
    return this.#unsupportedPauseMs;
  }

  #notifyUnsupported(): void {
    if (!this.#wasUnsupported) this.#listener.onUnsupported();
    this.#wasUnsupported = true;
  }
}

/** Whether an error is the response of a service without leases of gateways. */
export function isUnsupported(error: unknown): boolean {
  return error instanceof PresenceProblem && (error.status === 404 || error.status === 405);
}
