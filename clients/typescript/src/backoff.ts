/** A pause after a failure, in ms: it doubles with each earlier failure, up to `maxMs`. With jitter of up to the same length, so that clients do not retry together. */
export function backoff(failures: number, minMs: number, maxMs: number): number {
  return Math.min(minMs * 2 ** failures, maxMs) * (1 + Math.random());
}
