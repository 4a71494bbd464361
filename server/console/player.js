// Explanation of a player's state.

import { clock, eventsOf, state } from './feed.js';
import { read } from './service.js';

const REFRESH_INTERVAL_MS = 1_000;
const MAX_EVENTS = 12;
const REASONS = {
  connect: 'the player connected',
  restore: 'a heartbeat restored the player',
  set_state: 'a service or the game set the state',
  set_activity: 'a service or the game changed the activity',
  disconnect: 'the player left',
  lost: 'the last connection was lost',
  expired: 'the leases were not renewed',
  signed_out: 'the player was signed out',
};

const form = document.getElementById('search');
const input = document.getElementById('player-id');
const explanation = document.getElementById('explanation');

let shown = null;
/** The events of the shown player that the stream had when it was chosen, and since when. */
let history = { since: null, events: [] };

form.addEventListener('submit', (event) => {
  event.preventDefault();
  explain(input.value.trim());
});
window.addEventListener('hashchange', openHash);
setInterval(() => { if (shown && !document.hidden) refresh(); }, REFRESH_INTERVAL_MS);

/** Shows a player, and refreshes it regularly. */
export function explain(player) {
  input.value = player;
  if (!player) return;
  location.hash = `player=${encodeURIComponent(player)}`;
  shown = player;
  history = { since: null, events: [] };
  loadHistory(player);
  refresh();
}

async function loadHistory(player) {
  // Without events, or without NATS, the page shows those that it receives itself.
  const found = await read(`console/players/${encodeURIComponent(player)}/events`).catch(() => null);
  if (found && player === shown) {
    history = found;
    refresh();
  }
}

/** The events of the shown player, newest first: those of the stream, and those that this page has received since. */
function allEvents() {
  const byId = new Map([...eventsOf(shown), ...history.events].map((event) => [event.id, event]));
  return [...byId.values()].sort((one, other) => other.version - one.version);
}

/** Shows the player that the page's URL names. */
export function openHash() {
  const player = new URLSearchParams(location.hash.slice(1)).get('player');
  if (player && player !== shown) explain(player);
}

async function refresh() {
  const player = shown;
  let content;
  try {
    content = describe(await read(`console/players/${encodeURIComponent(player)}`));
  } catch (error) {
    content = [make('p', 'error', error.message)];
  }
  if (player === shown) explanation.replaceChildren(...content);
}

function describe(diagnostics) {
  const { presence, connections, last_transition: last } = diagnostics;
  const title = make('h3', '', presence.player_id, state(presence.state));
  const parts = [title, make('p', '', sentence(diagnostics))];
  if (connections.length > 0) {
    parts.push(group(`Connections (${connections.length})`, make('ul', '', ...connections.map((connection) => lease(connection, diagnostics.ttl_ms)))));
  }
  const facts = {};
  if (presence.activity) facts.Activity = summary(presence.activity);
  facts['Closed connections'] = diagnostics.closed_connections;
  if (presence.last_seen) facts['Last seen'] = `${clock(presence.last_seen)}, ${ago(diagnostics.as_of - presence.last_seen)}`;
  if (last) facts['Last transition'] = `${last.state} at ${clock(last.at)}${why(diagnostics)}`;
  if (last) facts.Version = last.version;
  parts.push(make('dl', 'facts', ...Object.entries(facts).flatMap(([key, value]) => [make('dt', '', key), make('dd', '', String(value))])));
  const events = allEvents().slice(0, MAX_EVENTS);
  if (events.length > 0) {
    const items = events.map((event) => make('li', '', `${clock(event.occurred_at)}  `, state(event.state), `  ${event.reason.replace('_', ' ')}`));
    const since = history.since ? clock(history.since) : 'this page was opened';
    parts.push(group(`Events since ${since}`, make('ul', '', ...items)));
  }
  return parts;
}

/** An activity in one line. */
function summary({ details, party, joinable, custom }) {
  const parts = [details];
  if (party) parts.push(`${party.size}/${party.max} in ${party.id}`);
  if (joinable !== undefined) parts.push(joinable ? 'joinable' : 'not joinable');
  if (custom) parts.push(JSON.stringify(custom));
  return parts.filter((part) => part !== undefined).join(', ');
}

function sentence({ as_of: now, presence, connections, last_transition: last, next_transition: next }) {
  if (presence.state !== 'OFFLINE') {
    const left = next ? `in ${seconds(next.at - now)}` : 'soon';
    if (connections.length > 0) return `Unless a heartbeat arrives, the player goes OFFLINE ${left}.`;
    if (next?.reason === 'lost') return `The last connection was lost. Unless the player reconnects within the grace, it goes OFFLINE ${left}.`;
    return `The state was set without a connection. Unless one is opened, the player goes OFFLINE ${left}.`;
  }
  if (next) return `The record expired ${ago(now - next.at)}: ${REASONS[next.reason]}. The sweep has not made the transition yet.`;
  if (last) return `OFFLINE ${ago(now - last.at)}: ${REASONS[last.reason] ?? last.reason}.`;
  return 'This player is unknown: never seen, or OFFLINE for longer than the history is kept.';
}

/** The reason of the last transition, from Redis or from an event. */
function why({ last_transition: last }) {
  const event = allEvents().find(({ version }) => version === last.version);
  const reason = last.reason ?? event?.reason;
  return reason ? `: ${REASONS[reason] ?? reason}` : '';
}

/** A connection, with the remaining share of its lease. */
function lease({ connection_id: id, expires_in_ms: left }, ttl) {
  const bar = make('progress', '');
  Object.assign(bar, { max: ttl, value: left });
  bar.setAttribute('aria-label', `Time left for ${id}`);
  return make('li', 'lease', make('code', '', id), make('span', 'note', seconds(left)), bar);
}

const group = (title, content) => make('div', '', make('h4', '', title), content);

function make(name, className, ...content) {
  const node = Object.assign(document.createElement(name), { className });
  node.append(...content);
  return node;
}

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

function ago(ms) {
  const units = [[86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'min'], [1_000, 's']];
  const [size, unit] = units.find(([size]) => ms >= size) ?? [1_000, 's'];
  return `${Math.max(0, Math.floor(ms / size))} ${unit} ago`;
}
