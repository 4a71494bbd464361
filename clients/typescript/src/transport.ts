import http from 'node:http';
import https from 'node:https';

import { PresenceProblem, PresenceUnavailable } from './errors.js';

/** The longest response, in bytes: 2,000 entries with the longest ids, and something to spare. */
const MAX_RESPONSE_BYTES = 4 * 1024 * 1024;

/** Connections that are idle for so long are closed: before the usual load balancer does, after 60 s. */
const IDLE_TIMEOUT_MS = 45_000;

/** Where the service is, and how it is called. */
export interface Endpoint {
  /** The address of the service, such as `http://presence:8080`. A path before the service's own is kept. */
  url: string;
  /** One of the service's tokens. Not needed if the service has none. */
  token?: string;
  /** How long one call may take, in ms (default 6,000: a call may wait 5 s for Redis). */
  requestTimeoutMs?: number;
  /** How long connections are reused, in ms (default 120,000). A load balancer sends calls to new servers only over new connections. */
  maxConnectionAgeMs?: number;
}

/** HTTP calls with a time limit, over connections that are kept and replaced. */
export class Transport {
  /** The address without a slash at its end. */
  readonly base: string;
  readonly #requestTimeoutMs: number;
  readonly #maxConnectionAgeMs: number;
  readonly #isEncrypted: boolean;
  #authorization: string | undefined;
  #agent: http.Agent;
  #agentExpiresAt: number;

  constructor(endpoint: Endpoint) {
    const url = new URL(endpoint.url);
    if (url.protocol !== 'http:' && url.protocol !== 'https:') {
      throw new TypeError(`the URL of the presence service begins with http:// or https://, not ${url.protocol}`);
    }
    if (url.username || url.password || url.search || url.hash) {
      throw new TypeError('the URL of the presence service has no user, query or fragment');
    }
    this.base = `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
    this.#isEncrypted = url.protocol === 'https:';
    this.#requestTimeoutMs = endpoint.requestTimeoutMs ?? 6_000;
    this.#maxConnectionAgeMs = endpoint.maxConnectionAgeMs ?? 120_000;
    if (endpoint.token !== undefined) this.setToken(endpoint.token);
    this.#agent = this.#newAgent();
    this.#agentExpiresAt = this.#nextExpiry();
  }

  /** Sends this token with every call from now on. */
  setToken(token: string): void {
    if (!/^[\x21-\x7e]+$/.test(token)) throw new TypeError('a token has at least one character, all of them visible ASCII');
    this.#authorization = `Bearer ${token}`;
  }

  /** The header that carries the token. */
  get headers(): Record<string, string> {
    return this.#authorization === undefined ? {} : { authorization: this.#authorization };
  }

  get(path: string): Promise<unknown> {
    return this.#call('GET', path);
  }

  post(path: string, body: unknown): Promise<unknown> {
    return this.#call('POST', path, JSON.stringify(body));
  }

  /** Closes idle connections, and the others after their call. */
  close(): void {
    retire(this.#agent);
  }

  async #call(method: string, path: string, body?: string): Promise<unknown> {
    const { status, retryAfter, text } = await this.#exchange(method, path, body);
    if (status < 200 || status > 299) throw PresenceProblem.fromResponse(status, retryAfter, text);
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new PresenceUnavailable('the response is not JSON, so something else responds at its address', { cause });
    }
  }

  #exchange(method: string, path: string, body?: string): Promise<{ status: number; retryAfter: string | undefined; text: string }> {
    const signal = AbortSignal.timeout(this.#requestTimeoutMs);
    const headers: http.OutgoingHttpHeaders = { ...this.headers };
    if (body !== undefined) {
      headers['content-type'] = 'application/json';
      headers['content-length'] = Buffer.byteLength(body);
    }
    const send = this.#isEncrypted ? https.request : http.request;
    return new Promise((resolve, reject) => {
      const fail = (cause: Error) =>
        reject(new PresenceUnavailable(signal.aborted ? 'it did not respond in time' : cause.message, { cause }));
      const request = send(`${this.base}${path}`, { method, headers, agent: this.#currentAgent(), signal }, (response) => {
        const chunks: Buffer[] = [];
        let length = 0;
        response.on('data', (chunk: Buffer) => {
          length += chunk.length;
          if (length > MAX_RESPONSE_BYTES) response.destroy(new Error('the response is too long'));
          else chunks.push(chunk);
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, retryAfter: response.headers['retry-after'], text: Buffer.concat(chunks).toString() }),
        );
        response.on('error', fail);
      });
      request.on('error', fail);
      request.end(body);
    });
  }

  #currentAgent(): http.Agent {
    if (performance.now() >= this.#agentExpiresAt) {
      retire(this.#agent);
      this.#agent = this.#newAgent();
      this.#agentExpiresAt = this.#nextExpiry();
    }
    return this.#agent;
  }

  #newAgent(): http.Agent {
    const options = { keepAlive: true, timeout: IDLE_TIMEOUT_MS, noDelay: true };
    return this.#isEncrypted ? new https.Agent(options) : new http.Agent(options);
  }

  /** With jitter, so that gateways that started together do not connect together. */
  #nextExpiry(): number {
    return performance.now() + this.#maxConnectionAgeMs * (0.5 + Math.random() / 2);
  }
}

/** Closes an agent's idle connections now, and those of its calls when they end. */
function retire(agent: http.Agent): void {
  agent.maxFreeSockets = 0;
  for (const sockets of Object.values(agent.freeSockets)) sockets?.forEach((socket) => socket.destroy());
}
