// The inspector's page. It asks the API for data and shows all of it as text: nothing that comes from
// a store becomes markup, a style or a script.

import { jsonElement, visible } from './json.js';
import { Plot } from './plot.js';

const main = document.getElementById('main');
const KEPT_SAMPLES = 600;
const LOG_ROWS = 300;

// ---- Elements ----------------------------------------------------------------------------------

// h('p', { class: 'soft' }, 'text', element, …): strings become text.
function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// Text of a store's, with a direction of its own.
const foreign = (text, className) => h('bdi', { class: className }, visible(text));

const keyLink = (key) => `#/aggregate/${encodeURIComponent(key)}`;

// ---- Numbers and times -------------------------------------------------------------------------

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const number = (value) => (value === null || value === undefined ? '–' : whole.format(value));

function short(value) {
  if (value >= 1e6) return `${(value / 1e6).toFixed(value >= 1e7 ? 0 : 1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(0)} k`;
  if (value >= 100 || Number.isInteger(value)) return whole.format(value);
  return value.toFixed(value >= 10 ? 1 : 2);
}

function bytes(value) {
  if (value === null || value === undefined) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

function milliseconds(value) {
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  if (value >= 1) return `${value.toFixed(value >= 100 ? 0 : 1)} ms`;
  return `${Math.round(value * 1000)} µs`;
}

const two = (value) => String(value).padStart(2, '0');

const clock = (date) =>
  `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}` +
  `.${String(date.getMilliseconds()).padStart(3, '0')}`;

const day = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;

function timeElement(text, onlyClock = false) {
  const date = new Date(text);
  const readable = Number.isNaN(date.getTime());
  const shown = readable ? text : onlyClock ? clock(date) : `${day(date)} ${clock(date)}`;
  return h('time', { datetime: text, title: text }, shown);
}

function ago(text) {
  const seconds = Math.max(0, (Date.now() - new Date(text).getTime()) / 1000);
  if (Number.isNaN(seconds)) return text;
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return day(new Date(text));
}

// ---- The API -----------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, query = {}, options = {}) {
  const given = Object.entries(query).filter(([, v]) => v !== null && v !== undefined && v !== '');
  const search = given.length ? `?${new URLSearchParams(given)}` : '';
  let response;
  try {
    response = await fetch(`api/${path}${search}`, { cache: 'no-store', ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refused(0, 'The inspector does not answer. Is it still running?');
  }
  const answer = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401) gate();
  throw new Refused(response.status, answer.error ?? `The answer was ${response.status}.`);
}

// ---- Views -------------------------------------------------------------------------------------

// What the present view has running, ended when it is left.
let leaving = new AbortController();
let view = null;
const about = { title: '', has_log: true };

const views = { overview, keys, aggregate, log, consumers };
const titles = { overview: 'Overview', keys: 'Aggregates', log: 'Log', consumers: 'Consumers' };

function place() {
  const [path, search = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, ...rest] = path.split('/');
  let argument = rest.join('/');
  try {
    argument = decodeURIComponent(argument);
  } catch {
    // A percent sign that somebody typed.
  }
  return { name: name || 'overview', argument, query: new URLSearchParams(search) };
}

function show({ keepFocus = false } = {}) {
  const { name, argument, query } = place();
  leaving.abort();
  leaving = new AbortController();
  view = { refresh: () => show({ keepFocus: true }) };
  const tab = name === 'aggregate' ? 'keys' : name;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.dataset.view === tab) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  const heading = name === 'aggregate' ? argument : (titles[name] ?? 'Not found');
  document.title = `${visible(heading)} · ${about.title || 'seriatim'}`;
  main.replaceChildren();
  const render = views[name];
  if (render) render(argument, query, leaving.signal);
  else main.append(h('p', { class: 'empty' }, 'There is no such page.'));
  if (!keepFocus) {
    window.scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
}

const head = (title, ...rest) => h('div', { class: 'head' }, h('h1', {}, title), ...rest);

const failure = (error) => h('p', { class: 'failed', role: 'alert' }, visible(error.message));

// Runs what a view does, and shows why it failed, unless the view was left.
async function doing(signal, where, work) {
  try {
    await work();
  } catch (error) {
    if (signal.aborted || error.name === 'AbortError' || error.status === 401) return;
    where.prepend(failure(error));
  }
}

// ---- Overview ----------------------------------------------------------------------------------

let samples = [];
let onSample = null;

const TILES = [
  ['Events', (s) => number(s.driver.events ?? s.totals.events),
    (s) => (s.rates ? `${short(s.rates.events)} a second` : '')],
  ['Aggregates', (s) => number(s.driver.keys), (s) => `${number(s.residents)} resident`],
  ['Appends', (s) => (s.rates ? `${short(s.rates.appends)}/s` : '–'),
    (s) => `${number(s.totals.appends)} since the start`],
  ['Conflicts', (s) => (s.rates ? `${short(s.rates.conflicts)}/s` : '–'),
    (s) => `${number(s.totals.conflicts + s.totals.early_conflicts)} since the start`],
  ['In mailboxes', (s) => number(s.in_flight), (s) => bytes(s.bytes_in_flight)],
  ['Failures', (s) => number(s.totals.failed_appends + s.totals.unknown_appends),
    (s) => `${number(s.totals.unknown_appends)} unknown`],
  ['On the disk', (s) => bytes(s.driver.disk_bytes),
    (s) => (s.driver.journal_files === null ? '' : `${number(s.driver.journal_files)} journal files`),
    (s) => s.driver.disk_bytes !== null],
];

const lag = (s) => s.consumers.reduce((sum, consumer) => sum + consumer.lag, 0);

const PLOTS = [
  ['Throughput', 'Appends and refused appends, a second', short, [
    { name: 'appends', of: (s) => s.rates?.appends },
    { name: 'conflicts', of: (s) => s.rates?.conflicts },
  ]],
  ['Put time', 'From forming a put until the driver committed it', milliseconds, [
    { name: 'p50', of: (s) => s.put_ms?.p50 },
    { name: 'p99', of: (s) => s.put_ms?.p99 },
  ]],
  ['Mailbox wait', 'From arrival in the mailbox until the append goes into a put', milliseconds, [
    { name: 'p50', of: (s) => s.queue_ms?.p50 },
    { name: 'p99', of: (s) => s.queue_ms?.p99 },
  ]],
  ['Appends per put', 'How many appends shared a put, on average', short, [
    { name: 'mean', of: (s) => s.appends_per_put },
  ]],
  ['Residents', 'Aggregates that have an actor', short, [
    { name: 'resident', of: (s) => s.residents },
    { name: 'passivated/s', of: (s) => s.rates?.passivations },
  ]],
  ['In mailboxes', 'Appends and commands that are admitted and not answered', short, [
    { name: 'in flight', of: (s) => s.in_flight },
  ]],
  ['Flush', 'The time of a flush that puts waited for', milliseconds, [
    { name: 'p50', of: (s) => s.flush_ms?.p50 },
    { name: 'p99', of: (s) => s.flush_ms?.p99 },
  ], (s) => s.driver.tail_bytes !== null],
  ['Behind the journal', 'What is durable and not yet in the main file', bytes, [
    { name: 'in memory', of: (s) => s.driver.tail_bytes },
  ], (s) => s.driver.tail_bytes !== null],
  ['Lag of consumers', 'Events after the positions of all running consumers, added up', short, [
    { name: 'events', of: lag },
  ], (s) => s.consumers.length > 0],
];

const FACTS = [
  ['Commands', (s) => number(s.totals.commands)],
  ['Commands without events', (s) => number(s.totals.commands_without_events)],
  ['Puts', (s) => number(s.totals.puts)],
  ['Puts sent again', (s) => number(s.totals.resent_puts)],
  ['Puts with unknown outcome', (s) => number(s.totals.unknown_puts)],
  ['Refused early', (s) => number(s.totals.early_conflicts)],
  ['Refused in the mailbox', (s) => number(s.totals.conflicts)],
  ['Refused by the driver', (s) => number(s.totals.driver_conflicts)],
  ['Repeated appends', (s) => number(s.totals.repeated_appends)],
  ['Passivations', (s) => number(s.totals.passivations)],
  ['Apply lag', (s) => (s.driver.apply_lag_ms === null ? '–' : milliseconds(s.driver.apply_lag_ms))],
  ['Cache hits', (s) => (s.driver.cache_hit_share === null ? '–' :
    `${(s.driver.cache_hit_share * 100).toFixed(1)} %`)],
];

function overview(_argument, _query, signal) {
  const tiles = h('dl', { class: 'tiles' });
  const plots = h('div', { class: 'plots' });
  const facts = h('dl', { class: 'facts' });
  main.append(head('Overview'), tiles, plots, h('section', { class: 'panel' },
    h('h2', {}, 'Since the store was opened'), facts));
  const fill = (list, element) => {
    const dd = h('dd', {});
    list.append(h('div', { class: element }, h('dt', {}), dd));
    return dd;
  };
  const tileValues = TILES.map(([name]) => {
    const dd = fill(tiles, 'tile');
    dd.previousSibling.textContent = name;
    const sub = h('span', { class: 'sub' });
    dd.append('', sub);
    return [dd.insertBefore(document.createTextNode(''), sub), sub];
  });
  const factValues = FACTS.map(([name]) => {
    const dd = fill(facts, '');
    dd.previousSibling.textContent = name;
    return dd;
  });
  const drawn = PLOTS.map(([title, note, shown, series, isThere]) => {
    const plot = new Plot(title, note, shown, series);
    plots.append(plot.element);
    return [plot, isThere ?? (() => true)];
  });
  const draw = () => {
    const sample = samples[samples.length - 1];
    if (!sample) return;
    TILES.forEach(([, value, sub, isThere], index) => {
      tileValues[index][1].closest('.tile').hidden = isThere ? !isThere(sample) : false;
      tileValues[index][0].data = value(sample);
      tileValues[index][1].textContent = sub(sample);
    });
    FACTS.forEach(([, value], index) => {
      factValues[index].textContent = value(sample);
    });
    for (const [plot, isThere] of drawn) {
      plot.element.hidden = !isThere(sample);
      if (!plot.element.hidden) plot.draw(samples);
    }
  };
  onSample = draw;
  signal.addEventListener('abort', () => {
    onSample = null;
  });
  draw();
}

// ---- Aggregates by prefix ----------------------------------------------------------------------

function keys(prefix, _query, signal) {
  const input = h('input', {
    type: 'search', value: prefix, placeholder: 'account/', spellcheck: 'false', autocapitalize: 'off',
    autocomplete: 'off', id: 'search',
  });
  const results = h('div', {});
  const summary = h('span', { class: 'soft', role: 'status' });
  main.append(head('Aggregates', summary),
    h('form', { class: 'bar', role: 'search', onsubmit: (event) => {
      event.preventDefault();
      results.querySelector('a')?.focus();
    } }, h('label', { class: 'field' }, h('span', {}, 'Key begins with'), input)), results);
  let asked = new AbortController();
  const search = () => {
    asked.abort();
    asked = new AbortController();
    const now = asked.signal;
    history.replaceState(null, '', input.value ? `#/keys/${encodeURIComponent(input.value)}` : '#/keys');
    doing(now, results, async () => {
      const page = await ask('keys', { prefix: input.value }, { signal: now });
      results.replaceChildren();
      if (page.keys.length === 0) {
        summary.textContent = '';
        results.append(h('p', { class: 'empty' },
          input.value ? 'No key begins with this.' : 'The store has no events.'));
        return;
      }
      const list = h('ul', { class: 'rows' });
      results.append(h('div', { class: 'list-head key-row', 'aria-hidden': 'true' },
        h('span', {}, 'Key'), h('span', {}, 'Latest event'), h('span', {}, 'Sequence'),
        h('span', {}, 'Recorded')), list);
      const add = (part) => {
        for (const found of part.keys) {
          list.append(h('li', {}, h('a', { class: 'row key-row', href: keyLink(found.key), 'data-item': true },
            foreign(found.key, 'key'), foreign(found.type, 'type clip soft'),
            h('span', { class: 'seq' }, number(found.sequence)),
            h('time', { class: 'soft', datetime: found.recorded_at, title: found.recorded_at },
              ago(found.recorded_at)))));
        }
        const count = list.children.length;
        summary.textContent = `${number(count)}${part.more ? ' and more' : ''}`;
        if (part.more) results.append(moreButton('Show more', now, () =>
          ask('keys', { prefix: input.value, after: part.keys.at(-1).key }, { signal: now }), add));
      };
      add(page);
    });
  };
  let waiting;
  input.addEventListener('input', () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, 150);
  });
  signal.addEventListener('abort', () => {
    clearTimeout(waiting);
    asked.abort();
  });
  search();
}

// A button that is replaced by what it gets.
function moreButton(label, signal, get, add) {
  const button = h('button', { type: 'button' }, label);
  const where = h('div', { class: 'more' }, button);
  button.addEventListener('click', () => {
    button.disabled = true;
    doing(signal, where, async () => {
      const part = await get();
      where.remove();
      add(part);
    }).finally(() => {
      button.disabled = false;
    });
  });
  return where;
}

// ---- One aggregate -----------------------------------------------------------------------------

function aggregate(key, query, signal) {
  const category = key.includes('/') ? `${key.split('/')[0]}/` : '';
  const summary = h('span', { class: 'soft' });
  const results = h('div', {});
  main.append(h('div', { class: 'head' },
    h('p', { class: 'crumb' }, h('a', { href: `#/keys/${encodeURIComponent(category)}` },
      category ? foreign(category) : 'Aggregates')),
    h('h1', {}, foreign(key)), summary), results);
  const get = (before) => ask('aggregate', { key, before, limit: 25 }, { signal });
  doing(signal, results, async () => {
    const from = query.get('at') ? Number(query.get('at')) + 1 : null;
    const page = await get(from);
    summary.textContent = `${number(page.latest)} ${page.latest === 1 ? 'event' : 'events'}`;
    const list = h('ol', { class: 'timeline', 'aria-label': 'Events, the latest first', reversed: true });
    if (from !== null && from <= page.latest) {
      results.append(h('p', { class: 'log-head' }, `Up to sequence ${number(from - 1)}.`,
        h('a', { href: keyLink(key) }, 'Show the latest')));
    }
    results.append(list);
    let newer = null;
    const add = (part) => {
      for (const event of part.events) {
        const item = eventItem(event, signal);
        if (newer?.commit === event.commit_id) {
          newer.item.classList.add('joined');
          newer.item.querySelector('time').before(
            h('span', { class: 'badge' }, `one append with #${event.sequence}`));
        }
        list.append(item);
        newer = { commit: event.commit_id, item };
      }
      if (part.more) {
        results.append(moreButton('Show earlier events', signal,
          () => get(part.events.at(-1).sequence), add));
      }
    };
    add(page);
    if (page.events.length === 0) results.append(h('p', { class: 'empty' }, 'No event there.'));
  });
}

function eventItem(event, signal) {
  return h('li', { class: 'event', tabindex: '-1', 'data-item': true, 'data-sequence': event.sequence },
    h('article', { class: 'event-card' },
      h('header', { class: 'event-head' },
        h('span', { class: 'seq' }, `#${event.sequence}`),
        h('h3', {}, foreign(event.type)),
        event.version === 1 ? null : h('span', { class: 'badge' }, `version ${event.version}`),
        event.position === undefined ? null :
          h('span', { class: 'position', title: 'Position in the log' }, `@${event.position}`),
        timeElement(event.recorded_at)),
      stateChanges(event.state),
      event.sequence > 1 ? changesElement('Data, against the event before', event.changes) : null,
      contents(event, 'data', 'Data', true, signal),
      event.state?.json ? fold('State after this event', false, () =>
        [jsonElement(event.state.json.text, 'State'), cutNote(event.state.json)]) : null,
      event.metadata ? contents(event, 'metadata', 'Metadata', false, signal) : null,
      fold('Ids', false, () => [ids(event)])));
}

function fold(title, isOpen, build) {
  const element = h('details', {}, h('summary', {}, title));
  let isBuilt = false;
  const open = () => {
    if (!isBuilt) element.append(...build().filter(Boolean));
    isBuilt = true;
  };
  element.addEventListener('toggle', () => element.open && open());
  if (isOpen) {
    open();
    element.open = true;
  }
  return element;
}

const ids = (event) => h('dl', { class: 'ids' },
  h('dt', {}, 'Event'), h('dd', {}, event.event_id),
  h('dt', {}, 'Commit'), h('dd', {}, event.commit_id),
  h('dt', {}, 'Schema version'), h('dd', {}, String(event.version)));

const textLength = (text) => new TextEncoder().encode(text).length;

const cutNote = (preview) => (textLength(preview.text) < preview.bytes ?
  h('p', { class: 'cut' }, `The first ${bytes(textLength(preview.text))} of ${bytes(preview.bytes)}`) : null);

// The JSON of an event's field: its beginning, and all of it on request.
function contents(event, field, title, isOpen, signal) {
  const preview = event[field];
  return fold(`${title} · ${bytes(preview.bytes)}`, isOpen, () => {
    let shown = jsonElement(preview.text, title);
    const note = cutNote(preview);
    if (!note) return [shown];
    const button = h('button', { type: 'button', class: 'small' }, 'Show all');
    note.append(button);
    button.addEventListener('click', () => {
      button.disabled = true;
      doing(signal, note, async () => {
        const all = await ask('event', { key: event.key, sequence: event.sequence }, { signal });
        const element = jsonElement(all[field].text, title);
        shown.replaceWith(element);
        shown = element;
        note.remove();
        element.focus();
      }).finally(() => {
        button.disabled = false;
      });
    });
    return [shown, note];
  });
}

function stateChanges(state) {
  if (!state) return null;
  if (state.error) {
    return h('p', { class: 'changes-title' }, 'The state is not known: ', foreign(state.error));
  }
  return changesElement('State', state.changes);
}

function changesElement(title, told) {
  if (!told) return null;
  const heading = (text) => h('p', { class: 'changes-title' }, text);
  if (told.too_large) return heading(`${title}: too large to compare`);
  if (told.changes.length === 0) return heading(`${title}: no change`);
  const list = h('ul', { class: 'changes', 'aria-label': title }, told.changes.map(changeItem));
  const more = told.more ? h('p', { class: 'changes-title' }, '… and more changes') : null;
  return h('div', {}, heading(title), list, more);
}

function changeItem({ path, before, after }) {
  const [kind, sign, word] = before === undefined ? ['is-added', '+', 'added']
    : after === undefined ? ['is-removed', '−', 'removed'] : ['is-changed', '~', 'changed'];
  const place = path.split('/').slice(1).map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  return h('li', { class: `change ${kind}` },
    h('span', { class: 'sign', title: word, 'aria-label': word }, sign),
    foreign(place.join(' › ') || 'all', 'path'),
    h('span', { class: 'values' },
      before === undefined ? null : foreign(before, 'before'),
      before !== undefined && after !== undefined ?
        h('span', { class: 'arrow', 'aria-label': 'becomes' }, '→') : null,
      after === undefined ? null : foreign(after, 'after')));
}

// ---- The log -----------------------------------------------------------------------------------

function log(_argument, query, signal) {
  const prefix = h('input', {
    type: 'search', id: 'search', value: query.get('prefix') ?? '', placeholder: 'account/',
    spellcheck: 'false', autocapitalize: 'off', autocomplete: 'off',
  });
  const type = h('input', {
    type: 'search', value: query.get('type') ?? '', placeholder: 'Deposited', spellcheck: 'false',
    autocapitalize: 'off', autocomplete: 'off',
  });
  const pause = h('button', { type: 'button', id: 'pause' }, 'Pause');
  const rate = h('span', { id: 'rate' });
  const list = h('ol', { class: 'rows', 'aria-label': 'Events, the latest first' });
  const results = h('div', {}, list);
  main.append(head('Log'),
    h('form', { class: 'bar', onsubmit: (event) => event.preventDefault() },
      h('label', { class: 'field' }, h('span', {}, 'Key begins with'), prefix),
      h('label', { class: 'field narrow' }, h('span', {}, 'Type is'), type), pause),
    h('p', { class: 'log-head' }, rate), results);

  let asked = new AbortController();
  let source = null;
  let isPaused = false;
  let arrivals = [];
  let last = 0;

  const filter = () => ({ prefix: prefix.value, type: type.value.trim() });
  const tellRate = () => {
    const now = performance.now();
    arrivals = arrivals.filter(([when]) => now - when < 5000);
    const sum = arrivals.reduce((total, [, count]) => total + count, 0);
    const began = arrivals.length ? arrivals[0][0] : now;
    const perSecond = sum / Math.max(1, Math.min(5, (now - began) / 1000 + 0.25));
    rate.textContent = isPaused ? `Paused at position ${number(last)}.`
      : `Position ${number(last)}, ${short(Math.round(perSecond))} events a second.`;
  };
  const connect = () => {
    source?.close();
    if (isPaused || signal.aborted) return;
    const given = Object.entries({ ...filter(), after: last }).filter(([, v]) => v !== '');
    source = new EventSource(`api/log/live?${new URLSearchParams(given)}`);
    source.addEventListener('log', (message) => {
      const news = JSON.parse(message.data);
      last = news.last;
      arrivals.push([performance.now(), news.new]);
      const rows = news.events.map((event) => entry(event, signal, news.left_out === 0));
      if (news.left_out > 0) {
        rows.push(h('li', { class: 'skipped' },
          `${number(news.left_out)} more events came too quickly to be shown`));
      }
      list.querySelector('.nothing')?.remove();
      list.prepend(...rows);
      while (list.children.length > LOG_ROWS) list.lastChild.remove();
      tellRate();
    });
    source.addEventListener('failed', (message) => {
      source.close();
      results.prepend(failure(new Error(JSON.parse(message.data))));
    });
  };
  const begin = () => {
    asked.abort();
    asked = new AbortController();
    source?.close();
    const now = asked.signal;
    const given = Object.entries(filter()).filter(([, value]) => value !== '');
    history.replaceState(null, '', `#/log${given.length ? `?${new URLSearchParams(given)}` : ''}`);
    doing(now, results, async () => {
      const page = await ask('log', filter(), { signal: now });
      results.replaceChildren(list);
      list.replaceChildren();
      last = page.last;
      const add = (part) => {
        list.append(...part.events.map((event) => entry(event, signal, false)));
        if (list.children.length === 0) {
          list.append(h('li', { class: 'empty nothing' }, part.before ?
            `None among the last ${number(part.looked_at)} events.` : 'No event yet.'));
        }
        if (part.before) {
          results.append(moreButton('Show earlier events', now,
            () => ask('log', { ...filter(), before: part.before }, { signal: now }), add));
        }
      };
      add(page);
      tellRate();
      connect();
    });
  };
  const toggle = () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? 'Resume' : 'Pause';
    pause.setAttribute('aria-pressed', String(isPaused));
    tellRate();
    connect();
  };
  pause.addEventListener('click', toggle);
  let waiting;
  for (const input of [prefix, type]) {
    input.addEventListener('input', () => {
      clearTimeout(waiting);
      waiting = setTimeout(begin, 250);
    });
  }
  const ticking = setInterval(tellRate, 1000);
  signal.addEventListener('abort', () => {
    clearTimeout(waiting);
    clearInterval(ticking);
    asked.abort();
    source?.close();
  });
  view.pause = toggle;
  begin();
}

function entry(event, signal, isFresh) {
  const item = h('li', { class: isFresh ? 'entry fresh' : 'entry', 'data-position': event.position });
  const row = h('button', { type: 'button', class: 'row', 'aria-expanded': 'false', 'data-item': true },
    h('span', { class: 'position' }, String(event.position)), timeElement(event.recorded_at, true),
    foreign(event.type, 'type clip'), foreign(event.key, 'key clip'),
    foreign(event.data.text.slice(0, 200), 'data clip'));
  let opened = null;
  row.addEventListener('click', () => {
    row.setAttribute('aria-expanded', String(!opened));
    if (opened) {
      opened.remove();
      opened = null;
      return;
    }
    opened = h('div', { class: 'entry-more' },
      h('p', { class: 'open' }, h('a', { href: `${keyLink(event.key)}?at=${event.sequence}` },
        foreign(event.key), ` #${event.sequence}`)),
      contents(event, 'data', 'Data', true, signal),
      event.metadata ? contents(event, 'metadata', 'Metadata', true, signal) : null, ids(event));
    item.append(opened);
  });
  item.append(row);
  return item;
}

// ---- Consumers ---------------------------------------------------------------------------------

function consumers(_argument, _query, signal) {
  const results = h('div', {});
  const summary = h('span', { class: 'soft' });
  main.append(head('Consumers', summary), results);
  let shown = '';
  const read = () => doing(signal, results, async () => {
    const answer = await ask('consumers', {}, { signal });
    summary.textContent = `The log ends at position ${number(answer.last)}.`;
    // Whoever reads or selects is not disturbed while nothing changes.
    const text = JSON.stringify(answer);
    if (text === shown) return;
    shown = text;
    const focused = document.activeElement?.getAttribute('href');
    results.replaceChildren(...answer.consumers.map((one) => consumerPanel(one, answer.last)));
    if (answer.consumers.length === 0) {
      results.append(h('p', { class: 'empty' }, 'No consumer has run on this store.'));
    }
    if (answer.total > answer.consumers.length) {
      results.append(h('p', { class: 'empty' }, `The first ${answer.consumers.length} of ${answer.total}.`));
    }
    if (focused) {
      [...results.querySelectorAll('a')].find((a) => a.getAttribute('href') === focused)?.focus();
    }
  });
  const again = setInterval(() => {
    if (!document.hidden) {
      results.querySelector('.failed')?.remove();
      read();
    }
  }, 2000);
  signal.addEventListener('abort', () => clearInterval(again));
  read();
}

function consumerPanel(one, last) {
  const fact = (name, value) => h('div', {}, h('dt', {}, name), h('dd', {}, value));
  const bar = h('i', {});
  bar.style.width = `${last ? Math.min(100, (one.position / last) * 100) : 100}%`;
  return h('section', { class: 'panel consumer' },
    h('div', { class: 'consumer-head' }, h('h2', {}, foreign(one.name)),
      h('span', { class: one.is_running ? 'badge on' : 'badge' }, one.is_running ? 'running' : 'not running here'),
      one.parked ? h('span', { class: 'badge bad' }, `${number(one.parked)} parked`) : null),
    h('div', { class: 'meter', 'aria-hidden': 'true' }, bar),
    h('dl', { class: 'consumer-facts' },
      fact('Position', number(one.position)), fact('Lag', `${number(one.lag)} events`),
      one.retries === null ? null : fact('Retries', number(one.retries))),
    one.parked_aggregates.length === 0 ? null : h('table', {},
      h('thead', {}, h('tr', {}, h('th', {}, 'Parked from'), h('th', { class: 'num' }, 'Position'),
        h('th', {}, 'Reason'))),
      h('tbody', {}, one.parked_aggregates.map((parked) => h('tr', {},
        h('td', {}, h('a', { href: `${keyLink(parked.key)}?at=${parked.sequence}` },
          foreign(parked.key), ` #${parked.sequence}`)),
        h('td', { class: 'num' }, number(parked.position)),
        h('td', {}, foreign(parked.reason)))))),
    one.parked > one.parked_aggregates.length ?
      h('p', { class: 'soft' }, `The first ${one.parked_aggregates.length} of ${one.parked}.`) : null);
}

// ---- The token ---------------------------------------------------------------------------------

let isGated = false;

function gate(message = '') {
  if (isGated) return;
  isGated = true;
  leaving.abort();
  figures?.close();
  status('', 'token needed');
  const input = h('input', { type: 'password', autocomplete: 'off', required: true, id: 'token' });
  main.replaceChildren(h('section', { class: 'panel gate' }, h('h1', {}, 'Token'),
    h('p', { class: 'soft' }, 'This inspector can be reached from elsewhere. Whoever started it has its token.'),
    message ? h('p', { class: 'failed', role: 'alert' }, message) : null,
    h('form', { onsubmit: async (event) => {
      event.preventDefault();
      isGated = false;
      if (await enter(input.value)) start();
    } }, h('label', { class: 'field' }, h('span', {}, 'Token'), input),
    h('button', { class: 'primary' }, 'Open'))));
  input.focus();
}

async function enter(token) {
  const plain = token.trim().replace(/[^\x21-\x7e]/g, '');
  const headers = { Authorization: `Bearer ${plain}` };
  const answer = await fetch('api/session', { method: 'POST', headers }).catch(() => null);
  if (answer?.ok) return true;
  gate(answer?.status === 401 ? 'This is not the token.' : 'The inspector does not answer.');
  return false;
}

// ---- Beginning ---------------------------------------------------------------------------------

let figures = null;

function status(kind, text) {
  const element = document.getElementById('status');
  element.className = `status ${kind}`;
  const label = document.getElementById('status-text');
  if (label.textContent !== text) label.textContent = text;
}

function watch() {
  figures?.close();
  figures = new EventSource('api/figures/live');
  figures.addEventListener('open', () => status('live', 'live'));
  figures.addEventListener('history', (message) => {
    samples = JSON.parse(message.data);
    onSample?.();
  });
  figures.addEventListener('sample', (message) => {
    samples.push(JSON.parse(message.data));
    if (samples.length > KEPT_SAMPLES) samples.shift();
    onSample?.();
  });
  figures.addEventListener('error', () => {
    status('lost', 'no connection');
    // A refusal ends the source; a lost connection does not.
    if (figures.readyState === EventSource.CLOSED && !isGated) setTimeout(start, 3000);
  });
}

async function start() {
  try {
    Object.assign(about, await ask('about'));
  } catch (error) {
    if (error.status === 401) return;
    main.replaceChildren(failure(error));
    status('lost', 'no connection');
    setTimeout(start, 3000);
    return;
  }
  document.getElementById('title').textContent = visible(about.title);
  watch();
  show({ keepFocus: true });
}

function moveAmong(step) {
  const items = [...main.querySelectorAll('[data-item]')];
  if (items.length === 0) return;
  const now = items.findIndex((item) => item === document.activeElement || item.contains(document.activeElement));
  const next = now < 0 ? (step > 0 ? 0 : items.length - 1) : now + step;
  const item = items[Math.max(0, Math.min(items.length - 1, next))];
  item.focus({ preventScroll: true });
  item.scrollIntoView({ block: 'nearest' });
}

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isGated) return;
  const isTyping = event.target.matches?.('input, textarea, select');
  if (event.key === 'Escape' && isTyping) event.target.blur();
  if (isTyping || document.querySelector('dialog[open]')) return;
  const tab = { 1: '#/', 2: '#/keys', 3: '#/log', 4: '#/consumers' }[event.key];
  if (tab) location.hash = tab;
  else if (event.key === '/') {
    const search = document.getElementById('search');
    if (search) search.focus();
    else location.hash = '#/keys';
  } else if (event.key === 'j') moveAmong(1);
  else if (event.key === 'k') moveAmong(-1);
  else if (event.key === 'p') view?.pause?.();
  else if (event.key === 'r') view?.refresh();
  else if (event.key === '?') document.getElementById('help').showModal();
  else return;
  event.preventDefault();
});

window.addEventListener('hashchange', () => show());

// A link with the token in its fragment, which is not sent to any server.
const given = /^#token=(.+)$/.exec(location.hash);
if (given) {
  history.replaceState(null, '', '#/');
  enter(given[1]).then((isIn) => isIn && start());
} else {
  start();
}
