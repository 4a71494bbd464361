// Figures of the server that responds: calls, latency, errors, sweep, outbox and version.

import { markCurrent, markOutdated } from './outage.js';
import { call } from './service.js';
import { tile } from './tiles.js';

/** The time over which rates are measured. */
const WINDOW_MS = 10_000;
/** Servers that have not responded for this long are not counted. */
const FORGET_MS = 60_000;

const list = document.getElementById('server');
const note = document.getElementById('server-note');
const names = ['CALLS/S', 'P99', 'ERRORS/S', 'SWEEP LAG', 'OUTBOX AGE', 'VERSION'];
const [calls, p99, errors, sweepLag, outboxAge, version] = names.map((name) => tile(list, name));

/** The samples of each server, oldest first: a load balancer may send each request to another one. */
const servers = new Map();

/** Shows the rates since earlier samples of the server that responds. */
export async function showServer() {
  try {
    const response = await call('metrics');
    if (!response.ok) throw new Error(`the server responded with status ${response.status}`);
    const metrics = parse(await response.text());
    const samples = remember(only(metrics, 'process_start_time_seconds').value, sample(metrics));
    showRates(samples[0], samples.at(-1));
    const build = only(metrics, 'presence_build_info');
    version.textContent = build.label('version');
    version.title = build.label('revision');
    markCurrent(list, note, servers.size > 1 ? `one of ${servers.size} servers that responded` : '');
  } catch (error) {
    markOutdated(list, note, error);
  }
}

/** Shows the ages that a health report has. */
export function showHealth(report) {
  const text = (check) => {
    if (check?.status === 'disabled') return 'off';
    return check?.age_ms === undefined ? '–' : duration(check.age_ms / 1_000);
  };
  sweepLag.textContent = text(report?.checks?.sweep);
  outboxAge.textContent = text(report?.checks?.outbox);
}

/** The metrics of Prometheus's text format: name, labels and value of each line. */
function parse(text) {
  return text.split('\n').flatMap((line) => {
    const [, name, labels = '', value] = line.match(/^(\w+)(?:\{(.*)\})? (\S+)$/) ?? [];
    if (!name) return [];
    const label = (key) => labels.match(new RegExp(`(?:^|,)${key}="([^"]*)"`))?.[1];
    return [{ name, label, value: Number(value) }];
  });
}

const only = (metrics, wanted) => metrics.find(({ name }) => name === wanted);

/** Counters of calls about players: not those of this page, of probes and of Prometheus. */
function sample(metrics) {
  const ofCalls = metrics.filter(({ label }) => label('call')?.startsWith('/presence/'));
  const sum = (wanted) => ofCalls.filter(wanted).reduce((total, { value }) => total + value, 0);
  const isCall = ({ name }) => name === 'presence_calls_total';
  const buckets = new Map();
  for (const { name, label, value } of ofCalls) {
    if (name !== 'presence_call_duration_seconds_bucket') continue;
    const limit = label('le') === '+Inf' ? Infinity : Number(label('le'));
    buckets.set(limit, (buckets.get(limit) ?? 0) + value);
  }
  return {
    at: performance.now(),
    calls: sum(isCall),
    errors: sum((metric) => isCall(metric) && metric.label('status').startsWith('5')),
    buckets: [...buckets].sort(([one], [other]) => one - other),
  };
}

/** Adds a sample of a server. Returns its samples of the window. */
function remember(server, newest) {
  const samples = [...servers.get(server) ?? [], newest];
  servers.set(server, samples.filter(({ at }) => at >= newest.at - WINDOW_MS));
  for (const [other, earlier] of servers) {
    if (earlier.at(-1).at < newest.at - FORGET_MS) servers.delete(other);
  }
  return servers.get(server);
}

function showRates(first, last) {
  const elapsed = (last.at - first.at) / 1_000;
  if (elapsed === 0) return; // there is one sample only
  calls.textContent = rate((last.calls - first.calls) / elapsed);
  errors.textContent = rate((last.errors - first.errors) / elapsed);
  const earlier = new Map(first.buckets);
  const buckets = last.buckets.map(([limit, count]) => [limit, count - (earlier.get(limit) ?? 0)]);
  p99.textContent = quantile(0.99, buckets);
}

/** The latency that this share of calls does not exceed: interpolated between the limits of a bucket, as Prometheus does. */
function quantile(share, buckets) {
  const rank = share * (buckets.at(-1)?.[1] ?? 0);
  if (rank === 0) return '–'; // there were no calls
  const index = buckets.findIndex(([, count]) => count >= rank);
  const [lower, below] = buckets[index - 1] ?? [0, 0];
  const [upper, count] = buckets[index];
  if (upper === Infinity) return `> ${duration(lower)}`;
  return duration(lower + ((upper - lower) * (rank - below)) / (count - below));
}

const rate = (value) => (value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString('en'));

function duration(seconds) {
  if (seconds === 0) return '0 s';
  if (seconds < 0.01) return `${(seconds * 1_000).toFixed(1)} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1_000)} ms`;
  return seconds < 100 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds / 60)} min`;
}
