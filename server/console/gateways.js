// The list of gateways: connections, remaining lease time and state.

import { markCurrent, markOutdated } from './outage.js';
import { read } from './service.js';

const note = document.getElementById('gateways-note');
const rows = document.getElementById('gateways');
const filter = document.getElementById('filter-gateway');

let current = [];

filter.addEventListener('input', draw);

/** Shows the current gateways. */
export async function listGateways() {
  try {
    const { gateways } = await read('gateways');
    current = gateways;
    draw();
    markCurrent(rows, note, summary(gateways));
  } catch (error) {
    markOutdated(rows, note, error);
  }
}

function draw() {
  const wanted = filter.value.trim();
  rows.replaceChildren(...current.filter(({ gateway_id: id }) => id.includes(wanted)).map(row));
}

function row({ gateway_id: id, connections, expires_in_ms: expiresIn, state = 'live' }) {
  const line = document.createElement('tr');
  const left = state === 'live' ? `${(expiresIn / 1_000).toFixed(1)} s` : '–';
  line.append(cell(id), cell(connections.toLocaleString('en')), cell(left), stateCell(state));
  line.firstChild.title = id;
  return line;
}

function cell(text) {
  const td = document.createElement('td');
  td.textContent = text;
  return td;
}

function stateCell(state) {
  const td = document.createElement('td');
  const mark = document.createElement('span');
  mark.className = `state ${state}`;
  mark.textContent = state;
  td.append(mark);
  return td;
}

/** The number of gateways per state, such as `3 live, 1 lost`. */
function summary(gateways) {
  const counts = new Map();
  for (const { state = 'live' } of gateways) counts.set(state, (counts.get(state) ?? 0) + 1);
  const words = [...counts].map(([state, count]) => `${count.toLocaleString('en')} ${state}`);
  return words.join(', ') || 'no gateway holds a lease';
}
