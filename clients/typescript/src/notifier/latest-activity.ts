import type { Activity } from '../types.js';

/** The least time between two changes of a player's activity. Of the changes in between, the latest is sent. */
export const MIN_ACTIVITY_INTERVAL_MS = 1_000;

/** A player's activity, as the gateway reported it last. */
export class LatestActivity {
  /** `undefined` if the gateway has reported none. An activity that was removed is `null`. */
  #reported: Activity | null | undefined;
  #isWaiting = false;
  #wasSent = false;
  #isInFlight = false;
  #lastSentAt = -Infinity;

  get isInFlight(): boolean {
    return this.#isInFlight;
  }

  /** The number of calls that wait or are in flight. */
  get tasks(): number {
    return this.#isWaiting || this.#isInFlight ? 1 : 0;
  }

  /** Takes what the gateway reports, in place of what waits. */
  set(activity: Activity | null): void {
    this.#reported = activity;
    this.#isWaiting = true;
    this.#wasSent = false;
  }

  /** The service lost the player's record: an activity is sent again. */
  reportAgain(): void {
    if (this.#reported) this.#isWaiting = true;
  }

  /** The player left, or was signed out: nothing is sent, now or later. */
  forget(): void {
    this.#reported = undefined;
    this.#isWaiting = false;
    this.#wasSent = false;
  }

  /** When the next change may be sent; `undefined` if there is nothing to send. */
  readyAt(now: number): number | undefined {
    return this.#isWaiting ? Math.max(now, this.#lastSentAt + MIN_ACTIVITY_INTERVAL_MS) : undefined;
  }

  /** Whether the activity changed so recently that another change has to wait. */
  hasToWait(now: number): boolean {
    return now < this.#lastSentAt + MIN_ACTIVITY_INTERVAL_MS;
  }

  /** What is sent now, and whether it was sent before. */
  start(now: number): { activity: Activity | null; wasSent: boolean } | undefined {
    if (!this.#isWaiting || this.#reported === undefined) return undefined;
    const wasSent = this.#wasSent;
    this.#isWaiting = false;
    this.#isInFlight = true;
    this.#wasSent = true;
    this.#lastSentAt = now;
    return { activity: this.#reported, wasSent };
  }

  /** The call failed: what is reported now is sent. */
  requeue(): void {
    this.#isInFlight = false;
    this.#isWaiting = this.#reported !== undefined;
  }

  /** The call ended. One that the service refused would be refused again, and is not kept. */
  finish(wasRefused: boolean): void {
    this.#isInFlight = false;
    if (wasRefused && !this.#isWaiting) this.#reported = undefined;
  }
}
