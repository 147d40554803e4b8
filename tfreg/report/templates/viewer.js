// The viewer: three planes of one place, and the controls.

(async () => {
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const get = (id) => document.getElementById(id);
  const { shape, spacing } = data;
  const extents = shape.map((n, d) => n * spacing[d]);
  const wanted = Math.max(...extents) / 24, gridStep = wanted < 3 ? Number(wanted.toPrecision(1)) : Math.round(wanted);
  const { volumes, unaltered } = await readVolumes(data);
  get("altered").hidden = unaltered;
  const place = middleOf(volumes.labels, shape); // the voxel under the cross-hair
  const jacobianColours = jacobianTable();
  const views = Object.entries(PLANES).map(([name, plane]) => ({
    name, plane, canvas: get(name), context: get(name).getContext("2d", { willReadFrequently: true }),
    slider: get("slice-" + name), layers: [newLayer(), newLayer(), newLayer()],
  }));
  const mode = () => document.querySelector("input[name=mode]:checked").value;
  const isOn = (id) => get(id) !== null && get(id).checked;
  const number = (id) => get(id).valueAsNumber;
  const words = (value, digits) => value.toFixed(digits).replace("-", "−");

  function draw(view) {
    const { plane, canvas, context, layers } = view;
    const { width, height } = canvas, slice = sliceOf(plane, shape, place[plane.axis]);
    const ratio = width / canvas.clientWidth, shown = mode();
    const scaled = (layer) => context.drawImage(layer.canvas, 0, 0, width, height);
    context.imageSmoothingEnabled = isOn("smooth");
    context.imageSmoothingQuality = "high";
    context.globalAlpha = 1;
    const greys = greyTable(number("brightness"), number("contrast"));
    const image = (layer, name) => paint(layer, slice, (index) => greys[volumes[name][index]]);
    if (shown === "before" || shown === "after") {
      const { fixed } = volumes, other = volumes[shown === "before" ? "moving" : "warped"];
      const colours = differenceTable(number("contrast")), missing = greys[0];
      paint(layers[0], slice, (i) => (fixed[i] && other[i] ? colours[fixed[i] - other[i] + 255] : missing));
      scaled(layers[0]);
    } else if (shown === "swipe" || shown === "checkerboard") {
      image(layers[0], "fixed");
      image(layers[1], "warped");
      scaled(layers[0]);
      context.save();
      context.beginPath();
      if (shown === "swipe") {
        const left = Math.round((number("divider") / 100) * width);
        context.rect(left, 0, width - left, height);
      } else {
        const tile = number("tile") * (width / extents[plane.across]);
        for (let row = 0; row * tile < height; row++) {
          for (let column = (row + 1) % 2; column * tile < width; column += 2) {
            context.rect(column * tile, row * tile, tile, tile);
          }
        }
      }
      context.clip();
      scaled(layers[1]);
      context.restore();
    } else {
      image(layers[0], shown);
      scaled(layers[0]);
    }
    drawOverlays(view, slice, ratio, scaled);
    if (shown === "swipe") {
      const x = Math.round((number("divider") / 100) * width);
      for (const [colour, rim] of [["rgba(0, 0, 0, 0.55)", ratio], ["#ffffff", 0]]) {
        context.fillStyle = colour;
        context.fillRect(x - ratio - rim, 0, 2 * ratio + 2 * rim, height);
        context.fillRect(x - 3 * ratio - rim, height / 2 - 15 * ratio - rim, 6 * ratio + 2 * rim, 30 * ratio + 2 * rim);
      }
    }
    drawLetters(view, ratio);
  }

  function drawOverlays({ plane, canvas, context, layers }, slice, ratio, scaled) {
    const { width, height } = canvas;
    context.globalAlpha = number("opacity");
    if (isOn("jacobian")) {
      paint(layers[2], slice, (index) => jacobianColours[volumes.jacobian[index]]);
      scaled(layers[2]);
    }
    context.globalAlpha = Math.min(1, 1.5 * number("opacity")); // thin lines need more than surfaces
    if (isOn("grid")) {
      context.strokeStyle = "#ffa53d";
      context.lineWidth = 1.2 * ratio;
      context.stroke(gridPath(plane, place[plane.axis], data, volumes.field, gridStep, width, height));
    }
    if (isOn("outlines")) {
      context.lineWidth = 1.6 * ratio;
      context.lineCap = "square";
      for (const [code, path] of outlinePaths(slice, volumes.labels, width, height)) {
        context.strokeStyle = data.labels[code - 1].colour;
        context.stroke(path);
      }
    }
    context.globalAlpha = 1;
    if (isOn("crosshair")) {
      const [x, y] = [[plane.across, width], [plane.up, height]].map(
        ([axis, size]) => Math.floor(((shape[axis] - 0.5 - place[axis]) / shape[axis]) * size) + ratio / 2);
      const gap = 9 * ratio;
      context.beginPath();
      for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height]]) {
        context.moveTo(x0, y0);
        context.lineTo(x1, y1);
      }
      for (const [colour, thickness] of [["rgba(0, 0, 0, 0.4)", 3], ["rgba(120, 205, 235, 0.9)", 1]]) {
        context.strokeStyle = colour;
        context.lineWidth = thickness * ratio;
        context.stroke();
      }
    }
  }

  function drawLetters({ plane, canvas, context }, ratio) {
    const { width, height } = canvas, edge = 5 * ratio;
    const places = [[edge, height / 2, "left", "middle"], [width - edge, height / 2, "right", "middle"],
      [width / 2, edge, "center", "top"], [width / 2, height - edge, "center", "bottom"]];
    context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    context.lineWidth = 3 * ratio;
    context.lineJoin = "round";
    context.strokeStyle = "rgba(0, 0, 0, 0.75)";
    context.fillStyle = "#ffe08a";
    places.forEach(([x, y, align, baseline], n) => {
      [context.textAlign, context.textBaseline] = [align, baseline];
      context.strokeText(plane.letters[n], x, y);
      context.fillText(plane.letters[n], x, y);
    });
  }

  function worldOf(voxel) {
    return data.affine.slice(0, 3).map((row) => row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + row[3]);
  }

  function inLetters(millimetres, [positive, negative]) {
    return `${millimetres < 0 ? negative : positive} ${Math.abs(millimetres).toFixed(1)}`;
  }

  function tell() {
    const index = place[0] + shape[0] * (place[1] + shape[1] * place[2]), world = worldOf(place);
    const value = (name) => {
      const code = volumes[name][index], [floor, ceiling] = data.windows[name === "fixed" ? "fixed" : "moving"];
      if (!code) return `${name} not reached`;
      const sign = code === 1 ? "≤" : code === 255 ? "≥" : "≈";
      const digits = Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(ceiling - floor))));
      return `${name} ${sign} ${words(floor + ((code - 1) / 254) * (ceiling - floor), digits)}`;
    };
    const moved = Math.hypot(...[0, 1, 2].map((d) => reached(data.field, volumes.field, shape, place, d) - place[d] * spacing[d]));
    const parts = [
      world.map((mm, d) => inLetters(mm, ["RL", "AP", "SI"][d])).join(", ") + " mm",
      ...["fixed", "moving", "warped"].map(value),
      `displacement ${moved.toFixed(1)} mm`,
    ];
    const jacobian = volumes.jacobian[index], label = volumes.labels ? volumes.labels[index] : 0;
    if (jacobian) parts.push(`log Jacobian ${words(((jacobian - 128) / 127) * data.jacobianLimit, 2)}`);
    if (label) parts.push(`label ${data.labels[label - 1].value}`);
    get("readout").value = parts.join("  ·  ");
    for (const { name, plane, slider } of views) {
      const middle = shape.map((n) => (n - 1) / 2);
      middle[plane.axis] = place[plane.axis];
      slider.value = place[plane.axis];
      get("place-" + name).value = `${place[plane.axis] + 1} / ${shape[plane.axis]}`;
      slider.setAttribute("aria-valuetext", inLetters(worldOf(middle)[plane.axis], [plane.positive, plane.negative]) + " mm");
    }
  }

  function tellControls() {
    const shown = mode(), compared = { swipe: "warped", checkerboard: "warped", before: "moving", after: "warped" }[shown] || shown;
    let any = false;
    for (const label of document.querySelectorAll("[data-modes]")) {
      label.hidden = label.dataset.modes !== shown;
      any = any || !label.hidden;
    }
    get("comparison").style.visibility = any ? "visible" : "hidden"; // nothing below moves when the mode changes
    for (const name of ["jacobian", "grid", "outlines"]) if (get("legend-" + name)) get("legend-" + name).hidden = !isOn(name);
    get("legend-difference").hidden = shown !== "before" && shown !== "after";
    get("difference-words").value = `fixed − ${compared}`;
    const range = 1 / number("contrast");
    get("difference-low").value = words(-range, 2);
    get("difference-high").value = "+" + words(range, 2);
    get("legend-reach").hidden = volumes[compared].indexOf(0) < 0;
    get("tile-size").value = `${number("tile")} mm`;
  }

  let waiting = false;
  function refresh() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      tellControls();
      tell();
      views.forEach(draw);
    });
  }

  // In a wide window all three planes have one scale, in a narrow one each is as large as fits.
  function layOut() {
    const widths = views.map(({ plane }) => extents[plane.across]), heights = views.map(({ plane }) => extents[plane.up]);
    const grid = document.querySelector(".views"), stacked = grid.clientWidth < 640;
    const room = grid.clientWidth - (stacked ? 0 : 32), tallest = Math.max(320, 0.72 * window.innerHeight);
    const common = Math.min(room / widths.reduce((a, b) => a + b), tallest / Math.max(...heights));
    const scales = widths.map((mm, n) => (stacked ? Math.min(room / mm, tallest / heights[n]) : common));
    grid.style.gridTemplateColumns = stacked ? "auto" : widths.map((mm) => `${mm * common}px`).join(" ");
    views.forEach(({ canvas }, n) => {
      const width = widths[n] * scales[n], height = heights[n] * scales[n], ratio = window.devicePixelRatio || 1;
      canvas.parentElement.style.width = `${width}px`;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
      canvas.width = Math.max(1, Math.round(width * ratio));
      canvas.height = Math.max(1, Math.round(height * ratio));
    });
    refresh();
  }

  function goTo(axis, voxel) {
    place[axis] = Math.max(0, Math.min(shape[axis] - 1, Math.round(voxel)));
    refresh();
  }

  for (const { canvas, plane, slider } of views) {
    let dragged = null, turned = 0;
    slider.max = shape[plane.axis] - 1;
    slider.addEventListener("input", () => goTo(plane.axis, slider.valueAsNumber));
    canvas.addEventListener("wheel", (event) => {
      if (event.ctrlKey) return; // the browser's zoom
      event.preventDefault();
      turned += event.deltaMode ? Math.sign(event.deltaY) * 40 : event.deltaY;
      const steps = Math.trunc(turned / 40);
      turned -= 40 * steps;
      if (steps) goTo(plane.axis, place[plane.axis] - Math.sign(steps) * Math.min(3, Math.abs(steps)));
    }, { passive: false });
    const move = (event) => {
      const box = canvas.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
      if (dragged === null) {
        const away = Math.abs(x - number("divider") / 100) * box.width;
        dragged = mode() === "swipe" && away < 8 ? "divider" : "place";
      }
      if (dragged === "divider") {
        get("divider").value = 100 * x;
        refresh();
      } else {
        goTo(plane.across, shape[plane.across] - 0.5 - x * shape[plane.across]);
        goTo(plane.up, shape[plane.up] - 0.5 - y * shape[plane.up]);
      }
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      dragged = null;
      move(event);
    });
    canvas.addEventListener("pointermove", (event) => { if (canvas.hasPointerCapture(event.pointerId)) move(event); });
  }
  document.querySelector(".controls").addEventListener("input", refresh);
  get("reset").addEventListener("click", () => {
    for (const id of ["brightness", "contrast"]) get(id).value = get(id).defaultValue;
    refresh();
  });
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
  for (const [id, words] of [["jacobian-low", "−"], ["jacobian-high", "+"]]) get(id).value = words + data.jacobianLimit.toFixed(1);
  get("grid-step").value = gridStep;
  get("viewer").hidden = false;
  new ResizeObserver(layOut).observe(document.querySelector(".stage"));
  layOut();
  requestAnimationFrame(() => requestAnimationFrame(() => { document.body.dataset.viewer = "ready"; }));
})();
