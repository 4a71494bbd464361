import { toWire } from '../wire.js';
import type { Activity, Connection, Reason, State } from '../types.js';

/** One thing to report about one player. */
export type Task =
  | { type: 'connect'; connectionId: string }
  | { type: 'heartbeat'; connectionId: string }
  | { type: 'disconnect'; connectionId: string; reason: Reason }
  | { type: 'state'; state: State }
  | { type: 'activity'; activity: Activity | null };

/** Tasks of one kind can share a call. */
export type Kind = Reason | 'connect' | 'state' | 'activity' | 'heartbeat';

/** All kinds. Of several calls that may be made, the first is made first. */
export const KINDS: readonly Kind[] = ['quit', 'lost', 'moving', 'connect', 'state', 'activity', 'heartbeat'];

/** Tasks of one kind, each of another player or connection. */
export interface Call {
  kind: Kind;
  tasks: { playerId: string; task: Task }[];
  /** The gateway that the call names, if any. */
  gatewayId?: string | undefined;
  sentAt: number;
}

export function kindOf(task: Task): Kind {
  return task.type === 'disconnect' ? task.reason : task.type;
}

/** Whether a call can carry several tasks. */
export function hasBatches(kind: Kind): boolean {
  return kind !== 'state' && kind !== 'activity';
}

/** Whether calls of a kind name the gateway that their connections belong to. */
export function namesGateway(kind: Kind): boolean {
  return kind === 'connect' || kind === 'heartbeat';
}

/** The connection that a player's task is about. */
export function connectionOf(playerId: string, task: Task): Connection | undefined {
  return 'connectionId' in task ? { playerId, connectionId: task.connectionId } : undefined;
}

export function pathOf(kind: Kind): string {
  switch (kind) {
    case 'connect':
      return '/presence/connect';
    case 'heartbeat':
      return '/presence/heartbeat';
    case 'state':
    case 'activity':
      return '/presence/state';
    default:
      return '/presence/disconnect';
  }
}

/** The body of a call. Connections are always sent as a batch, whose response says what became of each entry. */
export function bodyOf({ kind, tasks, gatewayId }: Call): object {
  const first = tasks[0];
  if (first?.task.type === 'state') return { player_id: first.playerId, state: first.task.state };
  if (first?.task.type === 'activity') return { player_id: first.playerId, activity: first.task.activity };
  const connections = tasks.flatMap(({ playerId, task }) => connectionOf(playerId, task) ?? []).map(toWire);
  if (!namesGateway(kind)) return { connections, reason: kind };
  return gatewayId === undefined ? { connections } : { connections, gateway_id: gatewayId };
}
