"use strict";
// What the page knows, what is chosen of it, and the numbers behind the choice. Text reaches the document as text only,
// never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const MEAN = "mean";
const ALL = "all";
const LISTED = 8; // the strongest places named beside the text
const FINE = 128; // pixels from which an enlarged image is smoothed
const LABELLED = 40; // the most places whose names stand along the heat map
const LABEL = 15; // characters of a name along the heat map
const state = { mechanism: 0, view: "weights", layer: 0, head: MEAN, direction: "from", pinned: 0, shown: 0 };
let places = [];

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Base64 of little-endian 16-bit shares of `scale`. */
function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed.values), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; i++) values[i] = (view.getUint16(2 * i, true) / 65535) * packed.scale;
  return values;
}

const unpacked = new Map();
function numbers(packed) {
  if (!unpacked.has(packed)) unpacked.set(packed, unpack(packed));
  return unpacked.get(packed);
}

const count = (axis) => (axis.tokens ? axis.tokens.length : axis.rows * axis.columns);
const largestOf = (values) => values.reduce((most, value) => Math.max(most, value), 0);
const percent = (share) => `${(100 * share).toFixed(1)}%`;

function visible(text) {
  return text === "" ? "∅" : /^\s+$/.test(text) ? "␣" : text;
}

function nameOf(axis, index) {
  if (axis.tokens) return visible(axis.tokens[index].text);
  return `row ${Math.floor(index / axis.columns)}, column ${index % axis.columns}`;
}

function weight(value) {
  if (value === 0) return "0";
  return value >= 0.001 ? value.toFixed(3) : value.toExponential(0);
}

const mechanism = () => data.mechanisms[state.mechanism];
const wholeLayer = (layer) => (layer.heads.length > 1 ? MEAN : 0);

/** The matrix [query, key] that is chosen: its values, row by row, and its size. */
function matrix() {
  const { query, key, layers, rollout, gradient } = mechanism();
  const size = { queries: count(query), keys: count(key) };
  if (state.view === "rollout") return { ...size, values: numbers(rollout) };
  if (state.view === "gradient") {
    return { ...size, values: numbers(state.layer === ALL ? gradient.combined : gradient.layers[state.layer]) };
  }
  const layer = layers[state.layer];
  const all = numbers(layer.weights);
  const area = size.queries * size.keys;
  if (state.head !== MEAN) return { ...size, values: all.subarray(state.head * area, (state.head + 1) * area) };
  const mean = new Float32Array(area);
  layer.heads.forEach((_, head) => {
    for (let i = 0; i < area; i++) mean[i] += all[head * area + i] / layer.heads.length;
  });
  return { ...size, values: mean };
}

/** What one place looks at, or who looks at it: a number for each place of the other axis. */
function line(shown, index) {
  if (state.direction === "from") return shown.values.subarray(index * shown.keys, (index + 1) * shown.keys);
  return Float32Array.from({ length: shown.queries }, (_, query) => shown.values[query * shown.keys + index]);
}

const axes = () => {
  const { query, key } = mechanism();
  return state.direction === "from" ? { from: query, to: key } : { from: key, to: query };
};
