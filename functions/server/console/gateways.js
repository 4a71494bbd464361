// The gateways: their connections, what is left of their leases, and those that are lost, held or leaving.

import { read } from './service.js';

const note = document.getElementById('gateways-note');
const rows = document.getElementById('gateways');

/** Shows the gateways as they are now. */
export async function listGateways() {
  try {
    const { gateways } = await read('gateways');
    rows.replaceChildren(...gateways.map(row));
    note.className = 'note';
    note.textContent = summary(gateways);
  } catch (error) {
    note.className = 'error';
    note.textContent = error.message;
  }
}

function row({ gateway_id: id, connections, expires_in_ms: expiresIn, state = 'live' }) {
  const line = document.createElement('tr');
  const left = state === 'live' ? `${(expiresIn / 1_000).toFixed(1)} s` : '–';
  line.append(cell(id), cell(connections.toLocaleString('en')), cell(left), stateCell(state));
  line.firstChild.title = id;
  return line;
}

function cell(text) {
  const place = document.createElement('td');
  place.textContent = text;
  return place;
}

function stateCell(state) {
  const place = document.createElement('td');
  const mark = document.createElement('span');
  mark.className = `state ${state}`;
  mark.textContent = state;
  place.append(mark);
  return place;
}

/** How many there are of each state, such as `3 live, 1 lost`. */
function summary(gateways) {
  const counts = new Map();
  for (const { state = 'live' } of gateways) counts.set(state, (counts.get(state) ?? 0) + 1);
  const words = [...counts].map(([state, count]) => `${count.toLocaleString('en')} ${state}`);
  return words.join(', ') || 'none holds a lease';
}
