import { PresenceProblem } from '../errors.js';
import type { Transport } from '../transport.js';
import type { Reason } from '../types.js';

/** How often the lease is renewed until the service says how often. */
const FIRST_INTERVAL_MS = 2_500;

/** How soon a renewal that failed is repeated. */
const RETRY_MS = 500;

interface RenewalResponse {
  status: 'new' | 'alive';
  heartbeat_interval_ms: number;
}

/** Is notified of what becomes of a lease. */
export interface LeaseListener {
  /** The service did not know the gateway. */
  onNew(): void;
  /** The lease was renewed. */
  onRenewed(): void;
  /** A renewal failed, and is repeated. */
  onFailed(error: unknown): void;
  /** The service does not know of gateways: there is no lease. */
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
  #isHeld = false;
  #isFailing = false;

  constructor(readonly gatewayId: string, transport: Transport, listener: LeaseListener) {
    this.#transport = transport;
    this.#listener = listener;
    this.#renew();
  }

  /** Whether the service has accepted the lease: it then knows gateways, and connections can belong to one. */
  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Whether the last renewal failed. */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  /** Stops the renewals. */
  stop(): void {
    this.#hasEnded = true;
    clearTimeout(this.#timer);
  }

  /** Ends the lease and those of all its connections, in one call. */
  async leave(reason: Reason): Promise<void> {
    this.stop();
    await this.#renewal; // a renewal that arrives later would begin another lease
    await this.#transport.post('/presence/gateway', { gateway_id: this.gatewayId, leaving: reason });
  }

  #renew(): void {
    this.#renewal = this.#renewOnce().then((nextInMs) => {
      if (this.#hasEnded || nextInMs === undefined) return;
      this.#timer = setTimeout(() => this.#renew(), nextInMs);
      this.#timer.unref();
    });
  }

  /** Returns when to renew next, in ms; `undefined` for never. */
  async #renewOnce(): Promise<number | undefined> {
    try {
      const response = (await this.#transport.post('/presence/gateway', { gateway_id: this.gatewayId })) as RenewalResponse;
      this.#intervalMs = response.heartbeat_interval_ms;
      this.#isHeld = true;
      this.#isFailing = false;
      this.#listener.onRenewed();
      if (response.status === 'new' && !this.#hasEnded) this.#listener.onNew();
      return this.#intervalMs;
    } catch (error) {
      if (error instanceof PresenceProblem && (error.status === 404 || error.status === 405)) {
        this.#listener.onUnsupported();
        return undefined;
      }
      this.#isFailing = true;
      this.#listener.onFailed(error);
      return Math.min(RETRY_MS, this.#intervalMs);
    }
  }
}
