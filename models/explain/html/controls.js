// What the person may choose.

function choice(name, legend, options, chosen, disabled = false) {
  const group = element("fieldset", { disabled }, element("legend", {}, legend));
  for (const [value, text] of options) {
    const input = element("input", { type: "radio", name, value, checked: String(value) === String(chosen) });
    input.addEventListener("change", () => choose(name, value));
    group.append(element("label", { class: "chip" }, input, element("span", {}, text)));
  }
  return group;
}

function choose(name, value) {
  state[name] = value;
  if (name === "mechanism") Object.assign(state, { view: "weights", layer: 0 });
  if (name === "mechanism" || name === "direction") Object.assign(state, { pinned: 0, shown: 0 });
  const { layers, gradient } = mechanism();
  if (name === "view") state.layer = value === "gradient" && gradient.combined ? ALL : 0;
  const fits = state.head === MEAN || state.head < layers[state.layer]?.heads.length;
  if (state.view === "weights" && (name === "mechanism" || !fits)) state.head = wholeLayer(layers[state.layer]);
  drawControls(name);
  drawPlaces();
  if (name === "mechanism") drawFindings();
}

function drawControls(changed) {
  const { layers, rollout, gradient } = mechanism();
  const views = [["weights", "weights"]];
  if (gradient) views.push(["gradient", "weights × gradient"]);
  if (rollout) views.push(["rollout", "rollout"]);
  const numbered =
    state.view === "gradient"
      ? [...(gradient.combined ? [[ALL, "all"]] : []), ...gradient.layers.map((_, index) => [index, index])]
      : layers.map((layer, index) => [index, layer.number]);
  const heads = state.view === "weights" ? layers[state.layer].heads : [];
  const groups = [
    data.mechanisms.length > 1 &&
      choice("mechanism", "Attention", data.mechanisms.map((each, index) => [index, each.name]), state.mechanism),
    choice("view", "Show", views, state.view),
    state.view !== "rollout" && choice("layer", "Layer", numbered, state.layer),
    state.view === "weights" &&
      choice("head", "Head", [...(heads.length > 1 ? [[MEAN, "mean"]] : []), ...heads.entries()], state.head),
    choice("direction", "Direction", [["from", "looks at"], ["to", "is looked at by"]], state.direction),
  ].filter(Boolean);
  document.getElementById("controls").replaceChildren(...groups);
  if (changed) document.querySelector(`#controls input[name="${changed}"]:checked`)?.focus();
}
