/** Client of the presence service, for gateways and other services. See README.md. */
export { PresenceClient } from './client.js';
export { PresenceProblem, PresenceUnavailable } from './errors.js';
export { HttpNotifier, NoopNotifier, UndeliveredError, type Notifier, type NotifierOptions, type NotifierStats } from './notifier.js';
export type { Endpoint } from './transport.js';
export { isConnectionId, isPlayerId, reasonOfCloseCode, type Activity, type Presence, type Reason, type State, type WatchedPresence } from './types.js';
export { Watcher, type FeedState, type Subscription, type WatcherOptions } from './watcher.js';
