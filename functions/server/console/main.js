// The page: counts and health, asked for repeatedly; starts the rest.

import { Chart, STATES } from './chart.js';
import { follow } from './feed.js';
import { listGateways } from './gateways.js';
import { explain, openHash } from './player.js';
import { read, sleep } from './service.js';

const PERIOD = 2_000;
const HEALTH_PERIOD = 5_000;
const QUALITY = { ok: 'good', degraded: 'fair' };

const counts = document.getElementById('counts');
const accuracy = document.getElementById('accuracy');
const health = document.getElementById('health');
const chart = new Chart(document.getElementById('chart'));
const tiles = new Map(['PLAYERS', ...STATES, 'CONNECTIONS'].map((name) => [name, tile(name)]));

function tile(name) {
  const place = document.createElement('div');
  const [term, figure] = ['dt', 'dd'].map((kind) => document.createElement(kind));
  place.className = name;
  term.textContent = name;
  figure.textContent = '–';
  place.append(term, figure);
  counts.append(place);
  return figure;
}

async function count() {
  try {
    const statistics = await read('presence');
    const figures = { PLAYERS: statistics.players, CONNECTIONS: statistics.connections, ...statistics.states };
    for (const [name, figure] of tiles) figure.textContent = figures[name].toLocaleString('en');
    accuracy.className = 'note';
    accuracy.textContent = statistics.is_exact ? '' : `reckoned from ${statistics.sampled.toLocaleString('en')} players`;
    chart.add(statistics);
  } catch (error) {
    accuracy.className = 'error';
    accuracy.textContent = error.message;
    chart.addGap();
  }
}

async function checkHealth() {
  const answer = await fetch('health/ready', { cache: 'no-store' }).then((response) => response.json()).catch(() => null);
  const checks = Object.entries(answer?.checks ?? {});
  const wrong = checks.filter(([, { status }]) => !['ok', 'disabled', 'unknown'].includes(status));
  health.className = `pill ${QUALITY[answer?.status] ?? 'poor'}`;
  const words = wrong.map(([name, { status }]) => `${name} ${status}`).join(', ');
  health.textContent = answer ? words || 'all is well' : 'the server does not answer';
}

/** Does something now and after each period, while somebody looks. */
async function repeat(action, period) {
  for (;;) {
    if (!document.hidden) await action();
    await sleep(period);
  }
}

repeat(count, PERIOD);
repeat(checkHealth, HEALTH_PERIOD);
repeat(listGateways, PERIOD);
follow(explain);
openHash();
