// Draws the page once everything above is defined.

state.head = wholeLayer(mechanism().layers[0]);
drawControls();
listenToMap();
drawPlaces();
drawFindings();
drawLabels();
fill("notes", element("ul", {}, ...data.notes.map((note) => element("li", {}, note))));
