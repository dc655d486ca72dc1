// The heat map of all weights at once.

const map = { canvas: document.getElementById("map"), cell: 8, left: 0, top: 0, at: [0, 0] };

const mapLabel = (token) => {
  const text = visible(token.text);
  return text.length > LABEL ? `${text.slice(0, LABEL - 1)}…` : text;
};
const labelRoom = (tokens) => 12 + 7.5 * Math.max(...tokens.map((token) => mapLabel(token).length)); // at 12 pixels

function fitMap(shown) {
  const { query, key } = mechanism();
  const most = Math.max(shown.queries, shown.keys);
  map.labelled = most <= LABELLED && Boolean(query.tokens || key.tokens);
  map.cell = Math.min(26, Math.max(2, Math.floor(640 / most)));
  if (map.labelled) map.cell = Math.max(map.cell, 14);
  map.left = map.labelled && query.tokens ? labelRoom(query.tokens) : 0;
  map.top = map.labelled && key.tokens ? labelRoom(key.tokens) : 0;
  const [width, height] = [map.left + map.cell * shown.keys, map.top + map.cell * shown.queries];
  const scale = Math.min(window.devicePixelRatio || 1, 4096 / Math.max(width, height));
  Object.assign(map.canvas, { width: width * scale, height: height * scale });
  Object.assign(map.canvas.style, { width: `${width}px`, height: `${height}px` });
  const context = map.canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return context;
}

function drawMap(shown) {
  const context = fitMap(shown);
  const style = getComputedStyle(document.documentElement);
  const [width, height] = [map.cell * shown.keys, map.cell * shown.queries];
  context.fillStyle = style.getPropertyValue("--panel");
  context.fillRect(map.left, map.top, width, height);
  context.imageSmoothingEnabled = false;
  context.drawImage(heatOf(shown, style.getPropertyValue("--heat")), map.left, map.top, width, height);
  if (map.labelled) drawMapLabels(context, style.getPropertyValue("--ink"));
  drawChosenLine(context, style.getPropertyValue("--focus"), shown);
}

/** One pixel for each weight, the larger the less transparent; kept, because every move of the pointer draws it. */
function heatOf(shown, colour) {
  const which = [state.mechanism, state.view, state.layer, state.head, colour].join();
  if (map.drawn === which) return map.pixels;
  const pixels = element("canvas", { width: shown.keys, height: shown.queries });
  const image = new ImageData(shown.keys, shown.queries);
  const rgb = colour.trim().split(/\s+/).map(Number);
  const largest = largestOf(shown.values) || 1;
  shown.values.forEach((value, index) => image.data.set([...rgb, (255 * value) / largest], 4 * index));
  pixels.getContext("2d").putImageData(image, 0, 0);
  document.getElementById("map-hint").textContent =
    `Queries down, keys across; the darkest colour is ${weight(largest)}. Point at a weight, or use the arrow keys.`;
  Object.assign(map, { pixels, drawn: which });
  return pixels;
}

function drawMapLabels(context, ink) {
  const { query, key } = mechanism();
  Object.assign(context, { fillStyle: ink, font: "12px ui-monospace, monospace", textBaseline: "middle" });
  if (query.tokens) {
    context.textAlign = "right";
    query.tokens.forEach((token, index) =>
      context.fillText(mapLabel(token), map.left - 6, map.top + (index + 0.5) * map.cell)
    );
  }
  if (key.tokens) {
    context.textAlign = "left";
    key.tokens.forEach((token, index) => {
      context.save();
      context.translate(map.left + (index + 0.5) * map.cell, map.top - 6);
      context.rotate(-Math.PI / 2);
      context.fillText(mapLabel(token), 0, 0);
      context.restore();
    });
  }
}

function drawChosenLine(context, colour, shown) {
  Object.assign(context, { strokeStyle: colour, lineWidth: 2 });
  const along = state.shown * map.cell;
  if (state.direction === "from") {
    context.strokeRect(map.left + 1, map.top + along, map.cell * shown.keys - 2, map.cell);
  } else {
    context.strokeRect(map.left + along, map.top + 1, map.cell, map.cell * shown.queries - 2);
  }
}

function tellMap(query, key) {
  const shown = matrix();
  if (query < 0 || key < 0 || query >= shown.queries || key >= shown.keys) return;
  map.at = [query, key];
  const { query: queries, key: keys } = mechanism();
  document.getElementById("map-readout").textContent =
    `${nameOf(queries, query)} → ${nameOf(keys, key)}: ${weight(shown.values[query * shown.keys + key])}`;
  state.shown = state.direction === "from" ? query : key;
  places[0].mark(state.shown);
  const values = line(shown, state.shown);
  places[1].paint(values);
  drawReadout(values);
  drawMap(shown);
  const context = map.canvas.getContext("2d");
  const [x, y] = [map.left + key * map.cell, map.top + query * map.cell];
  context.strokeRect(x, y, map.cell, map.cell);
}

function listenToMap() {
  map.canvas.addEventListener("mousemove", (event) => {
    const box = map.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - map.left, event.clientY - box.top - map.top];
    tellMap(Math.floor(y / map.cell), Math.floor(x / map.cell));
  });
  map.canvas.addEventListener("mouseleave", () => {
    state.shown = state.pinned;
    paintPlaces();
  });
  map.canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    tellMap(map.at[0] + moves[event.key][0], map.at[1] + moves[event.key][1]);
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawMap(matrix()));
}
