// Stacked area chart of players by state over time.

const SVG = 'http://www.w3.org/2000/svg';
const SPAN_MS = 5 * 60_000;
/** Samples that are further apart have a gap between them: the page was hidden, or the count failed. */
const MAX_STEP_MS = 6_000;
const MARGIN = { top: 8, right: 8, bottom: 20, left: 44 };

export const STATES = ['ONLINE', 'IN_QUEUE', 'IN_MATCH', 'AWAY'];

export class Chart {
  constructor(svg) {
    this.svg = svg;
    this.samples = [];
    /** The offset of Redis's clock from this one. */
    this.clockOffset = 0;
    new ResizeObserver(() => this.draw()).observe(svg);
  }

  /** Adds the response of `GET presence`. */
  add(statistics) {
    this.clockOffset = statistics.as_of - Date.now();
    this.samples.push({ at: statistics.as_of, ...statistics.states });
    const counts = STATES.map((state) => `${statistics.states[state]} ${state}`).join(', ');
    this.draw();
    this.label(`now ${counts}`);
  }

  /** Records that the players could not be counted. */
  addGap() {
    this.samples.push({ at: Date.now() + this.clockOffset, isGap: true });
    this.draw();
    this.label('now unknown');
  }

  label(text) {
    this.svg.setAttribute('aria-label', `Players by state over time; ${text}`);
  }

  /** Runs of samples without a gap between them. */
  runs() {
    const runs = [];
    let last = null;
    for (const sample of this.samples) {
      if (!sample.isGap) {
        if (!last || sample.at - last.at > MAX_STEP_MS) runs.push([]);
        runs.at(-1).push(sample);
      }
      last = sample.isGap ? null : sample;
    }
    return runs;
  }

  draw() {
    const { width, height } = this.svg.getBoundingClientRect();
    const now = Date.now() + this.clockOffset;
    this.samples = this.samples.filter((sample) => sample.at > now - SPAN_MS);
    const runs = this.runs();
    if (runs.length === 0 || !width) return;
    const first = this.samples[0].at;
    const span = Math.max(now - first, 20_000);
    const top = ceiling(Math.max(...runs.flat().map((sample) => sum(sample, STATES))));
    const x = (at) => width - MARGIN.right - ((now - at) / span) * (width - MARGIN.left - MARGIN.right);
    const y = (count) => height - MARGIN.bottom - (count / top) * (height - MARGIN.top - MARGIN.bottom);

    const parts = [];
    for (let n = 0; n <= 4; n += 1) {
      const count = (top / 4) * n;
      parts.push(element('line', { class: 'grid', x1: MARGIN.left, x2: width - MARGIN.right, y1: y(count), y2: y(count) }));
      if (Number.isInteger(count)) parts.push(text(MARGIN.left - 8, y(count) + 4, 'end', count.toLocaleString('en')));
    }
    for (const run of runs) {
      STATES.forEach((state, n) => {
        const edge = (states) => run.map((sample) => `${x(sample.at).toFixed(1)},${y(sum(sample, states)).toFixed(1)}`);
        const upper = edge(STATES.slice(0, n + 1));
        const lower = edge(STATES.slice(0, n)).reverse();
        parts.push(element('polygon', { class: `area ${state}`, points: [...upper, ...lower].join(' ') }));
      });
    }
    parts.push(text(x(now), height - 4, 'end', 'now'));
    parts.push(text(MARGIN.left, height - 4, 'start', `${Math.round(span / 1000)} s ago`));
    this.svg.replaceChildren(...parts);
  }
}

const sum = (sample, states) => states.reduce((total, state) => total + sample[state], 0);

/** The next round number that four grid lines divide evenly. */
function ceiling(count) {
  const scale = 10 ** Math.floor(Math.log10(Math.max(count, 4)));
  return [1, 2, 4, 6, 8, 10].map((step) => step * scale).find((top) => top >= count && top >= 4);
}

function element(name, attributes) {
  const node = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
  return node;
}

function text(x, y, anchor, content) {
  const node = element('text', { x, y, 'text-anchor': anchor });
  node.textContent = content;
  return node;
}
