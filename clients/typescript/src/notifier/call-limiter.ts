import { backoff } from '../backoff.js';

/** The pauses while calls of one kind keep failing: from 100–200 ms to 3–6 s. */
const MIN_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 3_000;

/** The longest pause, whatever the service asks for: a lease outlasts it. */
const MAX_PAUSE_MS = 15_000;

/** How many calls of one kind are in flight at most, and the pause after one that failed. From a failure to the next success, one call at a time. */
export class CallLimiter {
  #inFlight = 0;
  #failures = 0;
  #retryAt: number | undefined;

  constructor(readonly maxInFlight: number) {}

  get isFailing(): boolean {
    return this.#retryAt !== undefined;
  }

  get isIdle(): boolean {
    return this.#inFlight === 0;
  }

  /** When a call that is ready at `readyAt` may be made; `undefined` if one in flight has to end first. */
  readyAt(readyAt: number): number | undefined {
    if (this.#inFlight >= (this.isFailing ? 1 : this.maxInFlight)) return undefined;
    return Math.max(readyAt, this.#retryAt ?? readyAt);
  }

  begin(): void {
    this.#inFlight += 1;
  }

  /** A call ended, and the service works. */
  succeeded(): void {
    this.#inFlight -= 1;
    this.#failures = 0;
    this.#retryAt = undefined;
  }

  /** A call ended, and the service does not work. */
  failed(now: number, retryAfterMs = 0): void {
    this.#inFlight -= 1;
    if (this.#retryAt !== undefined && now < this.#retryAt) return; // it was in flight with the one that began the pause
    const pause = backoff(this.#failures, MIN_BACKOFF_MS, MAX_BACKOFF_MS) + retryAfterMs;
    this.#failures += 1;
    this.#retryAt = now + Math.min(pause, MAX_PAUSE_MS);
  }

  /** Ends the pause: there is a new reason to expect success. */
  endPause(now: number): void {
    if (this.#retryAt !== undefined) this.#retryAt = Math.min(this.#retryAt, now);
  }
}
