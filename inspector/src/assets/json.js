// Text of JSON as something to read. It is never parsed into numbers: those would change.

// Characters that cannot be seen, or that change the direction of what follows, shown as escapes.
const UNSEEN =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

export function visible(text) {
  return text.replace(UNSEEN, (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
}

// Deeper values are not moved further to the right.
const MAX_INDENT = 24;

// The tokens of a JSON text, with line breaks and indentation: [kind, text] each. The text may be
// cut off anywhere.
export function* tokens(text) {
  let at = 0;
  let depth = 0;
  let wantsBreak = false;
  const line = () => '\n' + '  '.repeat(Math.min(depth, MAX_INDENT));
  while (at < text.length) {
    const c = text[at];
    if (c === ' ' || c === '\t' || c === '\n' || c === '\r') {
      at += 1;
      continue;
    }
    const closes = c === '}' || c === ']';
    if (closes) {
      depth -= 1;
      if (!wantsBreak) yield ['space', line()];
    } else if (wantsBreak) {
      yield ['space', line()];
    }
    wantsBreak = false;
    if (c === '"') {
      const end = endOfString(text, at);
      const kind = isKey(text, end) ? 'key' : 'string';
      yield [kind, text.slice(at, end)];
      at = end;
    } else if (c === '{' || c === '[') {
      yield ['mark', c];
      depth += 1;
      wantsBreak = true;
      at += 1;
      // An empty one stays in its line: wantsBreak is still set when it closes.
    } else if (closes) {
      yield ['mark', c];
      at += 1;
    } else if (c === ',') {
      yield ['mark', ','];
      yield ['space', line()];
      at += 1;
    } else if (c === ':') {
      yield ['mark', ':'];
      yield ['space', ' '];
      at += 1;
    } else {
      let end = at + 1;
      while (end < text.length && !' \t\n\r,:{}[]"'.includes(text[end])) end += 1;
      const word = text.slice(at, end);
      yield [/^[-0-9]/.test(word) ? 'number' : 'word', word];
      at = end;
    }
  }
}

// Where the string that begins here ends, behind its quote.
function endOfString(text, begin) {
  let at = begin + 1;
  for (;;) {
    const quote = text.indexOf('"', at);
    if (quote < 0) return text.length;
    let slashes = 0;
    while (text[quote - 1 - slashes] === '\\') slashes += 1;
    if (slashes % 2 === 0) return quote + 1;
    at = quote + 1;
  }
}

function isKey(text, end) {
  while (text[end] === ' ') end += 1;
  return text[end] === ':';
}

// Longer texts are shown without colours.
const MAX_COLORED = 40000;

// An element that shows the JSON text.
export function jsonElement(text, label) {
  const pre = document.createElement('pre');
  pre.className = 'json';
  pre.tabIndex = 0;
  pre.setAttribute('aria-label', label);
  pre.setAttribute('role', 'region');
  const colored = text.length <= MAX_COLORED;
  let plain = '';
  for (const [kind, token] of tokens(text)) {
    if (colored && kind !== 'space' && kind !== 'mark') {
      pre.append(plain);
      plain = '';
      const span = document.createElement('span');
      span.className = kind;
      span.textContent = visible(token);
      pre.append(span);
    } else {
      plain += visible(token);
    }
  }
  pre.append(plain);
  return pre;
}
