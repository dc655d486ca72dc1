// What stands below: rollout, gradients, ablation, labels, notes.

function keyMean(packed, queries, keys) {
  const values = numbers(packed);
  const mean = new Float32Array(keys);
  for (let query = 0; query < queries; query++) {
    for (let key = 0; key < keys; key++) mean[key] += values[query * keys + key] / queries;
  }
  return mean;
}

function fill(id, ...children) {
  const section = document.getElementById(id);
  section.replaceChildren(section.querySelector("h2"), ...children);
  section.hidden = children.length === 0;
}

function drawRelevance() {
  const { query, key, rollout, gradient } = mechanism();
  const found = [];
  if (rollout) found.push(["Rollout: how much of each place reached the last layer, whatever the label.", rollout]);
  if (gradient) {
    const of = `Weights × gradient: what spoke for ${data.labels[data.label].name}`;
    if (gradient.combined) found.push([`${of}.`, gradient.combined]);
    else gradient.layers.forEach((layer, index) => found.push([`${of}, layer ${index}.`, layer]));
  }
  const image = data.image && !key.tokens;
  const original = image ? [element("figure", {}, element("figcaption", {}, "The image."), pictureOf())] : [];
  const figures = found.map(([caption, packed]) => {
    const drawn = new Places(key, caption, null);
    drawn.paint(keyMean(packed, count(query), count(key)));
    return element("figure", {}, element("figcaption", {}, caption), drawn.root);
  });
  const hint = element("p", { class: "hint" }, "The mean over all queries; the darkest colour is the largest.");
  const pictures = element("div", { class: key.tokens ? "pictures wide" : "pictures" }, ...original, ...figures);
  fill("relevance", ...(figures.length ? [hint, pictures] : []));
}

function pictureOf() {
  const picture = element("img", { class: "picture", src: data.image.source, alt: "The image that was explained" });
  picture.classList.toggle("fine", data.image.width > FINE);
  return picture;
}

function drawAblation() {
  const { ablation, layers } = mechanism();
  if (!ablation) return fill("ablation");
  const reach = Math.max(...ablation.map((effect) => Math.abs(effect.change))) || 1;
  const rows = ablation.map((effect) => {
    const bar = element("i", { class: effect.change < 0 ? "lowers" : "raises" });
    const width = (50 * Math.abs(effect.change)) / reach;
    Object.assign(bar.style, { width: `${width}%`, left: `${effect.change < 0 ? 50 - width : 50}%` });
    const show = element("button", { type: "button" }, `layer ${effect.layer}, head ${effect.head}`);
    show.addEventListener("click", () => showHead(layers, effect));
    const points = `${effect.change < 0 ? "−" : "+"}${Math.abs(100 * effect.change).toFixed(1)}`;
    return element(
      "tr",
      {},
      element("td", {}, show),
      element("td", {}, element("div", { class: "balance", "aria-hidden": "true" }, bar)),
      element("td", { class: "number" }, points),
      element("td", { class: "number" }, percent(effect.probability)),
      element("td", {}, effect.best === data.label ? "" : data.labels[effect.best].name)
    );
  });
  const name = data.labels[data.label].name;
  const heads = ["head switched off", "change", "points", `${name} then`, "other answer"];
  const head = element("thead", {}, element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text))));
  const hint = `The network's probability of ${name} when one head contributes nothing. A head to the left spoke for ` +
    "it; one to the right, against it. Choose a head to see its weights.";
  return fill(
    "ablation",
    element("p", { class: "hint" }, hint),
    element("div", { class: "scroll" }, element("table", {}, head, element("tbody", {}, ...rows)))
  );
}

function showHead(layers, effect) {
  const layer = layers.findIndex((each) => each.number === effect.layer);
  Object.assign(state, { view: "weights", layer, head: layers[layer].heads.indexOf(effect.head) });
  drawControls();
  drawPlaces();
  document.getElementById("weights-title").scrollIntoView();
}

function drawLabels() {
  if (!data.labels) return fill("labels");
  const order = data.labels.map((_, index) => index).sort((a, b) => data.labels[b].probability - data.labels[a].probability);
  const listed = order.slice(0, LISTED);
  if (!listed.includes(data.label)) listed.push(data.label);
  const rows = listed.map((index) => {
    const { name, probability } = data.labels[index];
    const bar = element("div", { class: "fill" });
    bar.style.width = percent(probability);
    return element(
      "li",
      {},
      element(index === data.label ? "b" : "span", {}, name),
      element("div", { class: "track", "aria-hidden": "true" }, bar),
      element("span", { class: "number" }, percent(probability))
    );
  });
  const list = element("ol", { class: "bars" }, ...rows);
  list.style.maxWidth = "34rem";
  return fill("labels", list);
}

function drawFindings() {
  drawRelevance();
  drawAblation();
}
