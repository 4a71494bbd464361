// The page's entry point: polls counts, health, gateways and the server's figures, and starts the event list.

import { Chart, STATES } from './chart.js';
import { follow } from './feed.js';
import { listGateways } from './gateways.js';
import { markCurrent, markOutdated } from './outage.js';
import { explain, openHash } from './player.js';
import { showHealth, showServer } from './server.js';
import { read, sleep } from './service.js';
import { tile } from './tiles.js';

const POLL_INTERVAL_MS = 2_000;
const HEALTH_INTERVAL_MS = 5_000;
const QUALITY = { ok: 'good', degraded: 'fair' };

const counts = document.getElementById('counts');
const accuracy = document.getElementById('accuracy');
const health = document.getElementById('health');
const chart = new Chart(document.getElementById('chart'));
const tiles = new Map(['PLAYERS', ...STATES, 'CONNECTIONS'].map((name) => [name, tile(counts, name, name)]));

async function count() {
  try {
    const statistics = await read('presence');
    const figures = { PLAYERS: statistics.players, CONNECTIONS: statistics.connections, ...statistics.states };
    for (const [name, figure] of tiles) figure.textContent = figures[name].toLocaleString('en');
    markCurrent(counts, accuracy, statistics.is_exact ? '' : `estimated from ${statistics.sampled.toLocaleString('en')} players`);
    chart.add(statistics);
  } catch (error) {
    markOutdated(counts, accuracy, error);
    chart.addGap();
  }
}

async function checkHealth() {
  const report = await fetch('health/ready', { cache: 'no-store' }).then((response) => response.json()).catch(() => null);
  const checks = Object.entries(report?.checks ?? {});
  const wrong = checks.filter(([, { status }]) => !['ok', 'disabled', 'unknown'].includes(status));
  health.className = `pill ${QUALITY[report?.status] ?? 'poor'}`;
  const words = wrong.map(([name, { status }]) => `${name} ${status}`).join(', ');
  health.textContent = report ? words || 'healthy' : 'the server does not respond';
  showHealth(report);
}

/** Runs an action now and after each interval, while the page is visible. */
async function repeat(action, interval) {
  for (;;) {
    if (!document.hidden) await action();
    await sleep(interval);
  }
}

repeat(count, POLL_INTERVAL_MS);
repeat(checkHealth, HEALTH_INTERVAL_MS);
repeat(listGateways, POLL_INTERVAL_MS);
repeat(showServer, POLL_INTERVAL_MS);
follow(explain);
openHash();
