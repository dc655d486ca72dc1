// The tokens of a text or the cells of an image, coloured by what one of them looks at.

/** An axis laid out as a person reads it; `onChoose(index, pin)` makes its places choosable. */
class Places {
  constructor(axis, label, onChoose) {
    this.axis = axis;
    this.parts = axis.tokens ? this.makeTokens(axis.tokens) : this.makeCells(axis);
    this.root = element(
      "div",
      { class: axis.tokens ? "tokens" : "cells", role: onChoose ? "listbox" : "img", "aria-label": label },
      ...this.parts.flatMap((part, index) => (axis.tokens?.[index].gap ? [" ", part] : [part]))
    );
    if (!axis.tokens) this.layOut(axis);
    if (onChoose) this.makeChoosable(onChoose);
  }

  makeTokens(tokens) {
    return tokens.map((token) =>
      element(
        "span",
        { class: token.special ? "token special" : "token" },
        visible(token.text)
      )
    );
  }

  makeCells(axis) {
    return Array.from({ length: count(axis) }, () => element("div", { class: "cell" }));
  }

  layOut(axis) {
    this.root.style.gridTemplateColumns = `repeat(${axis.columns}, 1fr)`;
    this.root.style.gridTemplateRows = `repeat(${axis.rows}, 1fr)`;
    if (data.image) {
      this.root.style.backgroundImage = `url("${data.image.source}")`;
      this.root.style.aspectRatio = `${data.image.width} / ${data.image.height}`;
      this.root.classList.toggle("fine", data.image.width > FINE);
    } else {
      this.root.classList.add("plain");
      this.root.style.aspectRatio = `${axis.columns} / ${axis.rows}`;
    }
  }

  makeChoosable(onChoose) {
    this.root.classList.add("choosable");
    this.parts.forEach((part, index) => {
      part.setAttribute("role", "option");
      part.setAttribute("tabindex", "-1");
      part.addEventListener("mouseenter", () => onChoose(index, false));
      part.addEventListener("click", () => onChoose(index, true));
      part.addEventListener("focus", () => onChoose(index, true));
    });
    this.root.addEventListener("mouseleave", () => onChoose(null, false));
    this.root.addEventListener("keydown", (event) => {
      const step = this.axis.tokens ? 1 : this.axis.columns;
      const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -step, ArrowDown: step, Home: -Infinity, End: Infinity };
      if (!(event.key in moves)) return;
      event.preventDefault();
      const wanted = Math.min(this.parts.length - 1, Math.max(0, state.pinned + moves[event.key]));
      this.parts[wanted].focus();
    });
  }

  mark(index) {
    this.parts.forEach((part, at) => {
      part.classList.toggle("chosen", at === index);
      part.setAttribute("tabindex", at === state.pinned ? "0" : "-1");
      part.setAttribute("aria-selected", at === index ? "true" : "false");
    });
  }

  paint(values) {
    const largest = largestOf(values) || 1;
    this.parts.forEach((part, index) => {
      const share = Math.max(0, values[index] / largest);
      part.style.backgroundColor = `rgb(var(--heat) / ${(0.85 * share).toFixed(3)})`;
      part.title = `${nameOf(this.axis, index)}: ${weight(values[index])}`;
      part.setAttribute("aria-label", part.title);
    });
  }
}

function drawPlaces() {
  const { from, to } = axes();
  const { same } = mechanism();
  const onChoose = (index, pin) => {
    if (pin) state.pinned = index;
    state.shown = index ?? state.pinned;
    paintPlaces();
  };
  const first = new Places(from, state.direction === "from" ? "queries" : "keys", onChoose);
  const second = same ? first : new Places(to, state.direction === "from" ? "keys" : "queries", null);
  places = [first, second];
  const figures = same
    ? [first.root]
    : [
        element("figure", {}, element("figcaption", {}, "choose here"), first.root),
        element("figure", {}, element("figcaption", {}, "and see here"), second.root),
      ];
  document.getElementById("places").replaceChildren(...figures);
  const what = from.tokens ? "token" : "cell";
  document.getElementById("map-readout").textContent = "";
  document.getElementById("hint").textContent =
    `Point at a ${what} to see what it ${state.direction === "from" ? "looks at" : "is looked at by"}; click to keep ` +
    "it. With the keyboard: Tab, then the arrow keys. The darkest colour is the largest weight of the one chosen.";
  paintPlaces();
}

function paintPlaces() {
  const shown = matrix();
  const values = line(shown, state.shown);
  places[1].paint(values);
  places[0].mark(state.shown);
  drawReadout(values);
  drawMap(shown);
}

function drawReadout(values) {
  const { from, to } = axes();
  const order = Array.from(values.keys()).sort((a, b) => values[b] - values[a] || a - b);
  const largest = values[order[0]] || 1;
  const rows = order.slice(0, LISTED).map((index) => {
    const fill = element("div", { class: "fill" });
    fill.style.width = `${(100 * values[index]) / largest}%`;
    return element(
      "li",
      {},
      element("span", { class: "name" }, nameOf(to, index)),
      element("div", { class: "track", "aria-hidden": "true" }, fill),
      element("span", { class: "number" }, weight(values[index]))
    );
  });
  const verb = state.direction === "from" ? " looks at" : " is looked at by";
  document
    .getElementById("readout")
    .replaceChildren(
      element("p", {}, element("b", { class: "name" }, nameOf(from, state.shown)), verb),
      element("ol", { class: "bars" }, ...rows)
    );
}
