// Plots of figures over the last minutes: lines in an SVG, read by pointer or arrow keys.

// Seconds that are shown, at most and at least.
const MAX_SPAN = 300;
const MIN_SPAN = 60;
const GAP = 3.5; // seconds without a sample that interrupt a line
const WIDTH = 600;
const HEIGHT = 120;

const svg = (name, attributes) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

const html = (name, className, text = '') => {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.textContent = text;
  return element;
};

// The next of 1, 2, 5, 10, 20 … that is not below.
function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

export class Plot {
  // series: [{ name, of: (sample) => number | null | undefined }]
  constructor(title, note, show, series) {
    this.show = show;
    this.series = series;
    this.samples = [];
    this.cursor = null;
    this.span = MIN_SPAN;
    this.element = html('figure', 'plot');
    this.element.tabIndex = 0;
    const caption = html('figcaption', '');
    caption.append(html('span', 'plot-title', title));
    this.legend = html('span', 'legend');
    this.values = series.map((one, index) => {
      const item = html('span', 'legend-item s' + index);
      item.append(html('i', 'swatch'), html('span', 'legend-name', one.name));
      const value = item.appendChild(html('b', '', '–'));
      this.legend.append(item);
      return value;
    });
    caption.append(this.legend);
    const area = html('div', 'plot-area');
    this.svg = svg('svg', {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img',
    });
    for (const y of [0, HEIGHT / 2, HEIGHT]) {
      this.svg.append(svg('line', { class: 'grid', x1: 0, x2: WIDTH, y1: y, y2: y }));
    }
    this.fill = this.svg.appendChild(svg('path', { class: 'fill s0' }));
    this.lines = series.map((_, index) =>
      this.svg.appendChild(svg('path', { class: 'line s' + index })));
    this.hair = this.svg.appendChild(svg('line', { class: 'hair', y1: 0, y2: HEIGHT }));
    this.top = html('span', 'axis top-label');
    this.when = html('span', 'axis when-label', '');
    area.append(this.svg, this.top, this.when);
    this.element.append(caption, area);
    this.title = title;
    this.element.title = note;
    area.addEventListener('pointermove', (event) => {
      const box = area.getBoundingClientRect();
      this.point(((event.clientX - box.left) / box.width) * this.span);
    });
    area.addEventListener('pointerleave', () => this.point(null));
    this.element.addEventListener('blur', () => this.point(null));
    this.element.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || this.samples.length === 0) return;
      event.preventDefault();
      const last = this.samples.length - 1;
      const from = this.cursor === null ? last + 1 : this.cursor;
      this.cursor = Math.max(0, Math.min(last, from + step));
      this.label();
    });
  }

  // Points at the sample that is nearest to this second of the span.
  point(second) {
    if (second === null || this.samples.length === 0) {
      this.cursor = null;
    } else {
      const at = this.end - (this.span - second) * 1000;
      let best = 0;
      this.samples.forEach((sample, index) => {
        if (Math.abs(sample.at - at) < Math.abs(this.samples[best].at - at)) best = index;
      });
      this.cursor = best;
    }
    this.label();
  }

  x(sample) {
    return WIDTH - ((this.end - sample.at) / 1000 / this.span) * WIDTH;
  }

  draw(samples) {
    const pointed = this.cursor === null ? null : this.samples[this.cursor];
    this.end = samples.length ? samples[samples.length - 1].at : 0;
    this.samples = samples.filter((sample) => this.end - sample.at <= MAX_SPAN * 1000);
    const known = this.samples.length ? (this.end - this.samples[0].at) / 1000 : 0;
    this.span = Math.max(MIN_SPAN, Math.ceil(known / 60) * 60);
    this.cursor = pointed === null ? null : Math.max(0, this.samples.indexOf(pointed));
    let most = 0;
    for (const sample of this.samples) {
      for (const one of this.series) most = Math.max(most, one.of(sample) ?? 0);
    }
    const top = roundUp(most);
    const y = (value) => (HEIGHT - (value / top) * HEIGHT).toFixed(1);
    this.series.forEach((one, index) => {
      let path = '';
      let fill = '';
      let before = null;
      for (const sample of this.samples) {
        const value = one.of(sample);
        if (value === null || value === undefined) {
          continue;
        }
        const x = this.x(sample).toFixed(1);
        const goesOn = before !== null && (sample.at - before.at) / 1000 <= GAP;
        if (!goesOn && before) fill += `L${this.x(before).toFixed(1)} ${HEIGHT}Z`;
        path += `${goesOn ? 'L' : 'M'}${x} ${y(value)}`;
        fill += goesOn ? `L${x} ${y(value)}` : `M${x} ${HEIGHT}L${x} ${y(value)}`;
        // A lone point is seen as a short line.
        if (!goesOn) path += 'h0.1';
        before = sample;
      }
      if (before) fill += `L${this.x(before).toFixed(1)} ${HEIGHT}Z`;
      this.lines[index].setAttribute('d', path);
      if (index === 0) this.fill.setAttribute('d', fill);
    });
    const isEmpty = this.lines.every((line) => !line.getAttribute('d'));
    this.top.textContent = isEmpty ? 'nothing yet' : this.show(top);
    this.label();
  }

  // The values at the cursor, or the latest.
  label() {
    const sample = this.samples[this.cursor ?? this.samples.length - 1];
    const texts = this.series.map((one, index) => {
      const value = sample ? one.of(sample) : null;
      const text = value === null || value === undefined ? '–' : this.show(value);
      this.values[index].textContent = text;
      return `${one.name} ${text}`;
    });
    const seconds = sample ? Math.round((this.end - sample.at) / 1000) : 0;
    const ago = this.cursor === null ? `last ${this.span / 60} min` : seconds === 0 ? 'now' : `${seconds} s ago`;
    this.when.textContent = ago;
    this.svg.setAttribute('aria-label', `${this.title}, ${ago}: ${texts.join(', ')}`);
    if (this.cursor === null || !sample) {
      this.hair.setAttribute('visibility', 'hidden');
    } else {
      const x = this.x(sample);
      this.hair.setAttribute('x1', x);
      this.hair.setAttribute('x2', x);
      this.hair.setAttribute('visibility', 'visible');
    }
  }
}
