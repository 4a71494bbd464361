/** An error that the service returned: problem details (RFC 9457). */
export class PresenceProblem extends Error {
  override readonly name = 'PresenceProblem';

  constructor(
    /** The HTTP status. */
    readonly status: number,
    /** The kind of error, such as `transition-rejected`; `about:blank` if the response does not name one. */
    readonly slug: string,
    /** What is wrong, in a sentence. */
    readonly detail: string,
    /** The part of the request that is wrong, such as `connections[3].player_id`. */
    readonly field: string | undefined,
    /** How long the service asks to wait before the next call, in ms. */
    readonly retryAfterMs: number | undefined,
  ) {
    super(`the presence service refused the call: ${slug} (${status}): ${detail}${field ? ` [${field}]` : ''}`);
  }

  /** Reads a response with an error status. One of a load balancer has no problem details. */
  static fromResponse(status: number, retryAfter: string | undefined, body: string): PresenceProblem {
    let details: { type?: unknown; detail?: unknown; field?: unknown } = {};
    try {
      details = Object(JSON.parse(body));
    } catch {
      // Not from the service: the status has to do.
    }
    const type = typeof details.type === 'string' ? details.type : 'about:blank';
    const detail = typeof details.detail === 'string' ? details.detail : 'no details were given';
    const field = typeof details.field === 'string' ? details.field : undefined;
    const seconds = retryAfter === undefined ? NaN : Number(retryAfter);
    const retryAfterMs = Number.isFinite(seconds) && seconds >= 0 ? seconds * 1_000 : undefined;
    return new PresenceProblem(status, type.replace(/^urn:presence:/, ''), detail, field, retryAfterMs);
  }
}

/** The service could not be reached, did not respond in time, or something else responded. Whether the call took effect is unknown; the call may be repeated, except a state that a newer call has replaced. */
export class PresenceUnavailable extends Error {
  override readonly name = 'PresenceUnavailable';

  constructor(message: string, options?: ErrorOptions) {
    super(`the presence service is unavailable: ${message}`, options);
  }
}
