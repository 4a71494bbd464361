/** Real servers for one test: Redis, NATS and presence-server, on free ports of the loopback interface. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { PresenceClient, type State } from '../src/index.js';

export const TOKEN = 'a-token-of-the-tests';

const root = findRoot(dirname(fileURLToPath(import.meta.url)));

export class Servers {
  readonly #folder = mkdtempSync(join(tmpdir(), 'presence-'));
  readonly #processes = new Set<ChildProcess>();
  readonly #ports: { redis: number; nats: number; presence: number };
  readonly #environment: Record<string, string>;
  #presence: ChildProcess | undefined;

  private constructor(ports: { redis: number; nats: number; presence: number }, environment: Record<string, string>) {
    this.#ports = ports;
    this.#environment = environment;
  }

  static async start(environment: Record<string, string> = {}): Promise<Servers> {
    const [redis, nats, presence] = await freePorts(3);
    const servers = new Servers({ redis: redis as number, nats: nats as number, presence: presence as number }, environment);
    servers.#run('redis-server', ['--bind', '127.0.0.1', '--port', `${redis}`, '--save', '', '--dir', servers.#folder]);
    servers.#run('nats-server', ['--addr', '127.0.0.1', '--port', `${nats}`, '--jetstream', '--store_dir', servers.#folder]);
    await servers.startPresence();
    return servers;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#ports.presence}`;
  }

  get endpoint(): { url: string; token: string } {
    return { url: this.url, token: TOKEN };
  }

  async startPresence(): Promise<void> {
    this.#presence = this.#run(join(root, 'target/debug/presence-server'), [], {
      PRESENCE_BIND: `127.0.0.1:${this.#ports.presence}`,
      PRESENCE_REDIS_URL: `redis://127.0.0.1:${this.#ports.redis}`,
      PRESENCE_NATS_URL: `nats://127.0.0.1:${this.#ports.nats}`,
      PRESENCE_AUTH_TOKENS: TOKEN,
      // A busy machine is not what these tests are about.
      PRESENCE_STORE_TIMEOUT: '5s',
      ...this.#environment,
    });
    await eventually(async () => (await fetch(`${this.url}/health/ready`)).status === 200);
  }

  /** Ends presence-server, by default as by a crash. */
  async stopPresence(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#end(this.#presence as ChildProcess, signal);
  }

  /** Sends Redis a command that has no reply worth reading. */
  async flushRedis(): Promise<void> {
    const cli = this.#run('redis-cli', ['-p', `${this.#ports.redis}`, 'flushall']);
    await once(cli, 'exit');
  }

  /** The state of a player, as the service reports it. */
  async stateOf(playerId: string): Promise<State> {
    return (await new PresenceClient(this.endpoint).get(playerId)).state;
  }

  /** A counter or gauge of the service. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`, { headers: { authorization: `Bearer ${TOKEN}` } })).text();
    return Number(text.match(new RegExp(`^${name} (\\d+)$`, 'm'))?.[1] ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#processes].map((child) => this.#end(child, 'SIGKILL')));
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #run(program: string, args: string[], environment: Record<string, string> = {}): ChildProcess {
    const path = `${process.env.PATH}:/usr/sbin:${join(root, 'target/tools')}`;
    const child = spawn(program, args, { stdio: 'ignore', env: { PATH: path, ...environment } });
    this.#processes.add(child);
    child.once('exit', () => this.#processes.delete(child));
    return child;
  }

  async #end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    await exit;
  }
}

/** Waits until a condition holds. The limit of the test is the only one. */
export async function eventually(condition: () => Promise<boolean> | boolean): Promise<void> {
  for (;;) {
    try {
      if (await condition()) return;
    } catch {
      // Not yet.
    }
    await sleep(20);
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

/** The folder of the repository. */
function findRoot(folder: string): string {
  return existsSync(join(folder, 'template.yaml')) ? folder : findRoot(dirname(folder));
}
