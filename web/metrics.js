// Prometheus' text format, and what can be read from two samples of it.

/** {name: [{labels, value}]} of one exposition. */
export function parse(text) {
  const families = new Map();
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!match) continue;
    const labels = {};
    for (const [, name, value] of (match[2] || "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[name] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    }
    if (!families.has(match[1])) families.set(match[1], []);
    families.get(match[1]).push({ labels, value: Number(match[3]) });
  }
  return families;
}

/** Sum over all samples of a family whose labels have what `where` has. */
export function total(families, name, where = {}) {
  let sum = 0;
  for (const { labels, value } of families.get(name) || []) {
    if (Object.entries(where).every(([key, wanted]) => labels[key] === wanted)) sum += value;
  }
  return sum;
}

/** The same, or null where there is no such sample. */
export function find(families, name, where = {}) {
  const found = (families.get(name) || []).find(({ labels }) =>
    Object.entries(where).every(([key, wanted]) => labels[key] === wanted));
  return found ? found.value : null;
}

/** Growth per second of a counter between two samples; null before the second. */
export function rate(before, now, name, where = {}) {
  if (!before) return null;
  const growth = total(now.families, name, where) - total(before.families, name, where);
  return growth < 0 ? null : (growth * 1000) / (now.time - before.time);
}

/** A quantile of what a histogram observed between two samples, by linear interpolation in its bucket; null: nothing. */
export function quantile(before, now, name, share) {
  if (!before) return null;
  const grown = new Map();
  for (const [sample, sign] of [[now, 1], [before, -1]]) {
    for (const { labels, value } of sample.families.get(`${name}_bucket`) || []) {
      const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
      grown.set(bound, (grown.get(bound) || 0) + sign * value);
    }
  }
  const buckets = [...grown].sort((a, b) => a[0] - b[0]);
  const count = buckets.length ? buckets[buckets.length - 1][1] : 0;
  if (count <= 0) return null;
  const wanted = share * count;
  let lower = 0;
  let below = 0;
  for (const [bound, cumulated] of buckets) {
    if (cumulated >= wanted) {
      if (bound === Infinity) return lower;
      return lower + ((bound - lower) * (wanted - below)) / Math.max(cumulated - below, 1);
    }
    lower = bound;
    below = cumulated;
  }
  return lower;
}
