// The list of live events.

import { call, sleep } from './service.js';

const MAX_EVENTS = 2_000;
const MAX_ROWS = 200;
const MAX_BACKOFF_MS = 10_000;

const rows = document.getElementById('events');
const filters = ['filter', 'filter-state', 'filter-reason'].map((id) => document.getElementById(id));
const pause = document.getElementById('pause');
const pill = document.getElementById('events-state');

/** The received events, newest first. */
let events = [];
let known = new Set();
let isDrawing = false;

/** The events of a player that this page has received, newest first. */
export const eventsOf = (player) => events.filter((event) => event.player_id === player);

/** Follows the events as long as the page is open. Calls `explain` with the id of a player who is chosen. */
export async function follow(explain) {
  rows.addEventListener('click', (event) => {
    if (event.target.dataset.player) explain(event.target.dataset.player);
  });
  filters.forEach((filter) => filter.addEventListener('input', draw));
  pause.addEventListener('click', () => {
    pause.setAttribute('aria-pressed', String(!isPaused()));
    draw();
  });
  for (let wait = 1_000; ; wait = Math.min(2 * wait, MAX_BACKOFF_MS)) {
    try {
      const response = await call('console/events');
      if (response.status === 404) return showStatus('', 'no events: PRESENCE_NATS_URL is unset');
      if (!response.ok) throw new Error(response.status);
      for await (const message of messages(response.body)) {
        wait = 1_000;
        receive(message);
      }
    } catch { /* the server is down or shutting down: try again */ }
    showStatus('poor', 'not connected');
    await sleep(wait);
  }
}

/** The messages of a stream of server-sent events. */
async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ''; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (text + value).split('\n\n');
    text = blocks.pop();
    for (const block of blocks) {
      const fields = block.split('\n').map((line) => line.split(/: ?(.*)/s));
      const values = (name) => fields.filter(([key]) => key === name).map(([, value]) => value);
      const [event] = values('event');
      if (event) yield { event, data: parse(values('data').join('\n')) };
    }
  }
}

/** The parsed JSON, or undefined if it is invalid. */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Whether this is an event of the service. Other publishers on its subject may send other data. */
function isEvent(data) {
  const texts = ['id', 'player_id', 'state', 'previous_state', 'reason'];
  return texts.every((name) => typeof data?.[name] === 'string') && Number.isFinite(data.occurred_at);
}

function receive({ event, data }) {
  if (event === 'feed') return showFeed(data?.feed);
  if (event === 'missed') return add({ missed: data?.count });
  if (event !== 'presence') return undefined;
  if (!isEvent(data)) return add({ isMalformed: true });
  if (known.has(data.id)) return undefined; // published twice
  known = known.size > 2 * MAX_EVENTS ? new Set(events.map(({ id }) => id)) : known.add(data.id);
  return add(data);
}

function add(event) {
  events.unshift(event);
  if (events.length > MAX_EVENTS) events = events.slice(0, MAX_EVENTS / 2);
  return scheduleDraw();
}

function scheduleDraw() {
  if (isDrawing || isPaused()) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    draw();
  });
}

function draw() {
  if (isPaused()) return;
  rows.replaceChildren(...events.filter(isWanted).slice(0, MAX_ROWS).map(row));
}

/** Whether an event matches all filters. A filter that is set hides rows that are not events. */
function isWanted(event) {
  const [player, state, reason] = filters.map((filter) => filter.value.trim());
  return (!player || event.player_id?.includes(player))
    && (!state || event.state === state)
    && (!reason || event.reason === reason);
}

function row(event) {
  const tr = document.createElement('tr');
  if (!event.player_id) {
    tr.className = 'missed';
    const what = event.isMalformed ? 'a message that is not an event' : `${event.missed} events skipped, as this page was too slow`;
    tr.append(cell('…'), Object.assign(cell(what), { colSpan: 3 }));
    return tr;
  }
  const player = document.createElement('button');
  Object.assign(player, { type: 'button', className: 'player', textContent: event.player_id, title: event.player_id });
  player.dataset.player = event.player_id;
  const arrow = Object.assign(document.createElement('span'), { className: 'arrow', textContent: '→' });
  tr.append(cell(clock(event.occurred_at)), cell(player), cell(state(event.previous_state), arrow, state(event.state)));
  tr.append(cell(event.reason.replace('_', ' ')));
  return tr;
}

function cell(...content) {
  const td = document.createElement('td');
  td.append(...content);
  return td;
}

/** A state's name, with its color. */
export function state(name) {
  return Object.assign(document.createElement('span'), { className: `state ${name}`, textContent: name });
}

export const clock = (ms) => new Date(ms).toLocaleTimeString('en-GB');

const isPaused = () => pause.getAttribute('aria-pressed') === 'true';

/** Shows the state of the feed. If NATS is down, the stream stays open without events. */
function showFeed(feed) {
  if (feed === 'live') showStatus('good', 'live');
  else showStatus('poor', 'NATS is down: events are delayed');
}

function showStatus(quality, text) {
  pill.className = `pill ${quality}`;
  pill.textContent = text;
}
