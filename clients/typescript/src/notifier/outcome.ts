import { PresenceProblem } from '../errors.js';
import type { WireConnection } from '../wire.js';
import { connectionOf, type Call, type Task } from './tasks.js';

/**
 * What a response means for one task.
 *
 * - `done`: it took effect, or had before.
 * - `restored`: it took effect, and the service had lost the connection before.
 * - `closed`: its connection is closed, and stays closed.
 * - `again`: it is sent again.
 * - `rejected`: the service does not allow the transition.
 * - `refused`: the call was refused, and would be again.
 * - `invalid`: the task was refused, and would be in each call.
 */
export type TaskOutcome = 'done' | 'restored' | 'closed' | 'again' | 'rejected' | 'refused' | 'invalid';

/** A successful response to a call. */
export interface BatchResponse {
  restored?: WireConnection[];
  closed?: WireConnection[];
  failed?: WireConnection[];
  heartbeat_interval_ms?: number;
  ttl_ms?: number;
}

/** What a response means for all tasks of its call. */
export class CallOutcome {
  readonly #byConnection = new Map<string, TaskOutcome>();
  readonly #usual: TaskOutcome;

  private constructor(
    usual: TaskOutcome,
    /** The call had more tasks than the service accepts. */
    readonly wasTooLarge = false,
  ) {
    this.#usual = usual;
  }

  static ofResponse({ closed = [], failed = [], restored = [] }: BatchResponse): CallOutcome {
    const outcome = new CallOutcome('done');
    const note = (connections: WireConnection[], result: TaskOutcome) =>
      connections.forEach(({ player_id, connection_id }) => outcome.#byConnection.set(keyOf(player_id, connection_id), result));
    note(closed, 'closed');
    note(failed, 'again');
    note(restored, 'restored');
    return outcome;
  }

  /** One entry at fault does not keep the others from being reported, nor does a batch that is too long. */
  static ofError(call: Call, error: unknown): CallOutcome {
    if (!isFinal(error) || isGatewayIdRefused(call, error)) return new CallOutcome('again');
    const hasMany = call.tasks.length > 1;
    if (error.status === 409) return new CallOutcome('rejected');
    if (error.status === 410) return new CallOutcome('closed');
    if (hasMany && (error.status === 413 || error.field === 'connections')) return new CallOutcome('again', true);
    const culprit = error.status === 400 ? culpritOf(call, error.field) : undefined;
    if (culprit === undefined) return new CallOutcome('refused');
    if (!hasMany) return new CallOutcome('invalid');
    const outcome = new CallOutcome('again');
    outcome.#byConnection.set(culprit, 'invalid');
    return outcome;
  }

  of(playerId: string, task: Task): TaskOutcome {
    const connection = connectionOf(playerId, task);
    const own = connection && this.#byConnection.get(keyOf(playerId, connection.connectionId));
    return own ?? this.#usual;
  }
}

/** Whether an error is about what the call says. Any other is about how the service is reached, and the call is sent again. */
export function isFinal(error: unknown): error is PresenceProblem {
  return error instanceof PresenceProblem && [400, 409, 410, 413].includes(error.status);
}

/** Whether a service without leases of gateways refused a call because it names a gateway. The same call without the id may succeed. */
export function isGatewayIdRefused(call: Call, error: unknown): boolean {
  const isRefusedId = error instanceof PresenceProblem && error.status === 400 && error.field === 'gateway_id';
  return isRefusedId && call.gatewayId !== undefined;
}

/** Neither kind of id has a space. */
export function keyOf(playerId: string, connectionId: string): string {
  return `${playerId} ${connectionId}`;
}

/** The entry at fault: `player_id` is about the only one, `connections[3].player_id` about the fourth. */
function culpritOf(call: Call, field: string | undefined): string | undefined {
  const position = field === 'player_id' || field === 'connection_id' ? '0' : field?.match(/^connections\[(\d+)\]/)?.[1];
  const entry = position === undefined ? undefined : call.tasks[Number(position)];
  const connection = entry && connectionOf(entry.playerId, entry.task);
  return connection && keyOf(connection.playerId, connection.connectionId);
}
