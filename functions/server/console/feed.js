// Events as they come.

import { call, sleep } from './service.js';

const KEPT = 2_000;
const SHOWN = 200;
const LONGEST_PAUSE = 10_000;

const rows = document.getElementById('events');
const filter = document.getElementById('filter');
const pause = document.getElementById('pause');
const pill = document.getElementById('events-state');

/** The newest first. */
let events = [];
let known = new Set();
let isDrawing = false;

/** The events of a player that this page has seen, the newest first. */
export const eventsOf = (player) => events.filter((event) => event.player_id === player);

/** Follows the events for ever. `explain` is called with the id of a player who was chosen. */
export async function follow(explain) {
  rows.addEventListener('click', (event) => {
    if (event.target.dataset.player) explain(event.target.dataset.player);
  });
  filter.addEventListener('input', draw);
  pause.addEventListener('click', () => {
    pause.setAttribute('aria-pressed', String(!isPaused()));
    draw();
  });
  for (let wait = 1_000; ; wait = Math.min(2 * wait, LONGEST_PAUSE)) {
    try {
      const response = await call('console/events');
      if (response.status === 404) return say('', 'no events: PRESENCE_NATS_URL is unset');
      if (!response.ok) throw new Error(response.status);
      for await (const message of messages(response.body)) {
        wait = 1_000;
        take(message);
      }
    } catch { /* the server is away, or ends: it is asked again */ }
    say('poor', 'not connected');
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
      const fields = block.split('\n').map((line) => line.split(/: (.*)/s));
      const field = (name) => fields.find(([key]) => key === name)?.[1];
      if (field('event')) yield { event: field('event'), data: JSON.parse(field('data')) };
    }
  }
}

function take({ event, data }) {
  if (event === 'ready') return say('good', 'live');
  if (event === 'missed') data = { missed: data.count };
  if (known.has(data.id)) return undefined; // published twice
  events.unshift(data);
  if (events.length > KEPT) events = events.slice(0, KEPT / 2);
  known = known.size > 2 * KEPT ? new Set(events.map(({ id }) => id)) : known.add(data.id ?? Symbol('missed'));
  return schedule();
}

function schedule() {
  if (isDrawing || isPaused()) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    draw();
  });
}

function draw() {
  if (isPaused()) return;
  const wanted = filter.value.trim();
  const shown = events.filter((event) => !wanted || event.player_id?.includes(wanted)).slice(0, SHOWN);
  rows.replaceChildren(...shown.map(row));
}

function row(event) {
  const tr = document.createElement('tr');
  if (event.missed) {
    tr.className = 'missed';
    tr.append(cell('…'), cell(`${event.missed} events were too fast for this page`), cell(''), cell(''));
    return tr;
  }
  const player = document.createElement('button');
  Object.assign(player, { type: 'button', className: 'player', textContent: event.player_id });
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

/** A state's name, with its colour. */
export function state(name) {
  return Object.assign(document.createElement('span'), { className: `state ${name}`, textContent: name });
}

export const clock = (ms) => new Date(ms).toLocaleTimeString('en-GB');

const isPaused = () => pause.getAttribute('aria-pressed') === 'true';

function say(quality, text) {
  pill.className = `pill ${quality}`;
  pill.textContent = text;
}
