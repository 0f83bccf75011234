// The viewer: draws one photo and what one or several networks say about it. Gradio runs this once per viewer and hands
// in `element`, `props` and `watch`. Everything after the value's arrival happens here, without asking the server.
//
// props.value  {id, photo, classes, networks, disagreement, expected} or null, made by seg/ui/payload.py
// props.lang   "en" or "zh"; both props may be missing at first
// TEXT         the words per language;  RAMP_COLOURS  256 colours for confidence: put before this file by __init__.py,
//              with looks.js
//
// Two layers of pictures: a canvas per pane shows, small typed arrays (ids, confidence) answer "what is here?".

const root = element.querySelector(".viewer");
const part = (name) => root.querySelector(".viewer-" + name);
const view = { mode: "colours", opacity: 0.6, hidden: new Set(), point: null, safe: false };
const MODES = ["colours", "outline", "confidence"];
const PHONE = matchMedia("(max-width: 640px)");
const TOUCH = matchMedia("(hover: none)");
const CALM = matchMedia("(prefers-reduced-motion: reduce)");
let scene = null; // the decoded value: {value, width, height, photo, networks, disagreement, panes}
let arrival = 0; // counts values, so that a slow decode never overwrites a newer one

const opaque = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0; // one pixel is 0xAABBGGRR
const RAMP = Uint32Array.from(RAMP_COLOURS, opaque);
const words = () => TEXT[props.lang] || TEXT.en;
const className = (id) => {
  const known = scene.value.classes[id];
  return known ? known[props.lang] || known.en : String(id);
};
const colourOf = (id) => (view.safe && scene.value.classes[id].safe ? scene.value.classes[id].safe : scene.value.classes[id]).colour;
const percent = (share) => (share > 0 && share < 0.001 ? "<0.1" : (100 * share).toFixed(1)) + " %";

// --- from the value to pixels ---------------------------------------------------------------------------------------

async function loadPicture(src) {
  const picture = new Image();
  picture.src = src;
  await picture.decode();
  return picture;
}

async function readPixels(src, width, height, smooth) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = smooth;
  context.drawImage(await loadPicture(src), 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

function idsFromColours(pixels, colours) {
  const idOf = new Map(colours.map(([r, g, b], id) => [(r << 16) | (g << 8) | b, id]));
  const ids = new Uint8Array(pixels.length / 4);
  for (let i = 0, p = 0; i < ids.length; i++, p += 4) {
    const id = idOf.get((pixels[p] << 16) | (pixels[p + 1] << 8) | pixels[p + 2]);
    ids[i] = id === undefined ? 255 : id;
  }
  return ids;
}

function redChannel(pixels) {
  const values = new Uint8Array(pixels.length / 4);
  for (let i = 0; i < values.length; i++) values[i] = pixels[4 * i];
  return values;
}

async function decode(value) {
  const { width, height } = value.photo;
  const classColours = value.classes.map((c) => c.colour);
  const photo = loadPicture(value.photo.src);
  const networks = Promise.all(
    value.networks.map(async (network) => ({
      ...network,
      ids: idsFromColours(await readPixels(network.labels, width, height, false), classColours),
      sure: redChannel(await readPixels(network.confidence, width, height, true)),
      layer: new OffscreenCanvas(width, height), // the colours of this network's classes, background left clear
      doubt: null, // confidence as a picture, made when first asked for
      edges: new OffscreenCanvas(width, height), // thin light lines between classes: VOC has colours as dark as a cat
    })),
  );
  let disagreement = null;
  if (value.disagreement) {
    const { src, colours } = value.disagreement;
    const pixels = await readPixels(src, width, height, false);
    disagreement = { ...value.disagreement, ids: idsFromColours(pixels, colours), picture: await loadPicture(src) };
  }
  return { value, width, height, photo: await photo, networks: await networks, disagreement, panes: [] };
}

// --- painting -------------------------------------------------------------------------------------------------------

// Puts ink wherever a class's pattern wants some and the class's own colour has been painted.
function hatch(out, ids, colours, p) {
  const inks = new Uint32Array(256);
  const tiles = new Array(256);
  scene.value.classes.forEach(({ safe }, id) => {
    if (!safe || !colours[id] || !safe.pattern) return;
    inks[id] = opaque(safe.ink);
    tiles[id] = tileOf(safe.pattern, p);
  });
  ids.forEach((id, i) => {
    if (!inks[id] || out[i] !== colours[id]) return;
    const x = i % scene.width;
    const y = (i - x) / scene.width;
    if (tiles[id][(y % p) * p + (x % p)]) out[i] = inks[id];
  });
}

// Fills a network's layer: what lies over the photo in the overlay and over black in the mask.
function paintLayer(network) {
  const { ids, sure } = network;
  const colours = new Uint32Array(256);
  scene.value.classes.forEach((_, id) => {
    if (id > 0 && !view.hidden.has(id)) colours[id] = opaque(colourOf(id));
  });
  const dense = Math.max(8, Math.round(scene.width / 28));
  if (view.mode === "colours") {
    put(network.layer, (out) => {
      ids.forEach((id, i) => (out[i] = colours[id]));
      if (view.safe) hatch(out, ids, colours, dense);
    });
    put(network.edges, (out) => forEachEdge(ids, 0.0012, (i, id, next) => {
      if (colours[id] || colours[next]) out[i] = 0xd8ffffff;
    }));
  } else if (view.mode === "confidence") {
    put(network.layer, (out) => ids.forEach((id, i) => (out[i] = view.hidden.has(id) ? 0 : RAMP[sure[i]])));
  } else {
    const share = view.safe ? 0.007 : 0.0035;
    put(network.layer, (out) => {
      forEachEdge(ids, share, (i, id, next) => (out[i] = colours[id] || colours[next]));
      if (view.safe) hatch(out, ids, colours, dense); // on a line a pattern becomes dashes
    });
  }
}

function put(canvas, fill) {
  const image = new ImageData(scene.width, scene.height);
  fill(new Uint32Array(image.data.buffer));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Calls draw(index, id, next) wherever another id begins to the right or below, within a share of the width.
function forEachEdge(ids, share, draw) {
  const { width, height } = scene;
  const reach = Math.max(1, Math.round(width * share));
  for (let y = 0; y < height; y++) {
    const below = (Math.min(y + reach, height - 1) - y) * width;
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      const right = ids[i + Math.min(reach, width - 1 - x)];
      const next = ids[i] !== right ? right : ids[i + below];
      if (ids[i] !== next) draw(i, ids[i], next);
    }
  }
}

const PAINTERS = {
  original: (context) => context.drawImage(scene.photo, 0, 0, scene.width, scene.height),
  mask: (context, network) => {
    context.fillStyle = "black";
    context.fillRect(0, 0, scene.width, scene.height);
    context.drawImage(network.layer, 0, 0);
  },
  overlay: (context, network) => {
    PAINTERS.original(context);
    context.globalAlpha = view.mode === "outline" ? 1 : view.opacity;
    context.drawImage(network.layer, 0, 0);
    context.globalAlpha = 1;
    if (view.mode === "colours") context.drawImage(network.edges, 0, 0);
  },
  confidence: (context, network) => {
    if (!network.doubt) {
      network.doubt = new OffscreenCanvas(scene.width, scene.height);
      put(network.doubt, (out) => network.sure.forEach((level, i) => (out[i] = RAMP[level])));
    }
    context.drawImage(network.doubt, 0, 0);
  },
  disagreement: (context) => {
    context.imageSmoothingEnabled = false;
    context.drawImage(scene.disagreement.picture, 0, 0, scene.width, scene.height);
  },
};

function drawPanes() {
  for (const pane of scene.panes) PAINTERS[pane.kind](pane.canvas.getContext("2d"), pane.network);
}

function repaint() {
  for (const network of scene.networks) paintLayer(network);
  drawPanes();
}

// --- building the page ----------------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in node && name !== "role") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function makePane(kind, network) {
  const canvas = make("canvas", { width: scene.width, height: scene.height, tabIndex: 0, role: "img" });
  const tip = make("span", { className: "viewer-tip", ariaHidden: "true" });
  const mark = make("span", { className: "viewer-mark", ariaHidden: "true" });
  const frame = make("div", { className: "viewer-frame" }, canvas, mark, tip);
  const caption = make("figcaption", {});
  const figure = make("figure", { className: "viewer-pane" }, caption, frame);
  figure.dataset.kind = kind;
  if (network) figure.dataset.network = network.name;
  const pane = { kind, network, canvas, tip, mark, caption, figure };
  canvas.addEventListener("pointermove", (event) => pointAt(event, pane));
  canvas.addEventListener("pointerdown", (event) => pointAt(event, pane));
  canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && clearPoint());
  canvas.addEventListener("keydown", (event) => moveByKey(event, pane));
  canvas.addEventListener("focus", () => movePoint(view.point || [scene.width >> 1, scene.height >> 1], pane, true));
  canvas.addEventListener("blur", clearPoint);
  scene.panes.push(pane);
  return figure;
}

function buildPanes() {
  const holder = part("panes");
  holder.replaceChildren();
  scene.panes = [];
  if (!scene.value.comparing) {
    const [network] = scene.networks;
    holder.append(makePane("original"), makePane("mask", network), makePane("overlay", network));
    return;
  }
  holder.append(makePane("original"));
  if (scene.disagreement) holder.append(makePane("disagreement"), make("div", { className: "viewer-key" }));
  for (const network of scene.networks) {
    const title = make("h3", { className: "viewer-row-title", textContent: network.title });
    holder.append(title, ...["mask", "overlay", "confidence"].map((kind) => makePane(kind, network)));
  }
}

function presentIds() {
  const largest = new Map();
  for (const network of scene.networks) {
    for (const [id, share] of network.areas) largest.set(id, Math.max(share, largest.get(id) || 0));
  }
  return [...largest].sort((a, b) => b[1] - a[1]).map(([id]) => id);
}

function buildChips() {
  const single = scene.networks.length === 1 && !scene.value.comparing ? new Map(scene.networks[0].areas) : null;
  const chips = presentIds().map((id) => {
    const swatch = swatchOf(id);
    const label = className(id) + (single ? "  " + percent(single.get(id)) : "");
    const chip = make("button", { type: "button", className: "viewer-chip" }, swatch, label);
    chip.dataset.id = id;
    chip.setAttribute("aria-pressed", String(!view.hidden.has(id)));
    chip.addEventListener("click", () => {
      if (!view.hidden.delete(id)) view.hidden.add(id);
      chip.setAttribute("aria-pressed", String(!view.hidden.has(id)));
      repaint();
    });
    return chip;
  });
  part("chips").setAttribute("aria-label", words().chips);
  part("chips").replaceChildren(...chips);
}

function buildModes() {
  const buttons = MODES.map((mode) => {
    const button = make("button", { type: "button", role: "radio", textContent: words()[mode] });
    button.dataset.mode = mode;
    button.setAttribute("aria-checked", String(view.mode === mode));
    button.tabIndex = view.mode === mode ? 0 : -1;
    button.addEventListener("click", () => setMode(mode));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      setMode(MODES[(MODES.indexOf(mode) + step + MODES.length) % MODES.length]);
      part("modes").querySelector("[aria-checked=true]").focus();
    });
    return button;
  });
  part("modes").setAttribute("aria-label", words().modes);
  part("modes").replaceChildren(...buttons);
}

function setMode(mode) {
  view.mode = mode;
  for (const button of part("modes").children) {
    button.setAttribute("aria-checked", String(button.dataset.mode === mode));
    button.tabIndex = button.dataset.mode === mode ? 0 : -1;
  }
  repaint();
}

function cells(tag, texts) {
  return texts.map((text, i) => {
    const cell = make(i === 0 ? "th" : tag, {});
    cell.append(text);
    if (i === 0) cell.scope = tag === "th" ? "col" : "row";
    return cell;
  });
}

function table(title, head, rows) { // in a box of its own, which scrolls where the table is wider than the page
  const headRow = make("tr", {}, ...cells("th", head));
  for (const cell of headRow.children) cell.scope = "col";
  const body = rows.map((row) => make("tr", {}, ...cells("td", row)));
  const whole = make("table", {}, make("caption", { textContent: title }), make("thead", {}, headRow), make("tbody", {}, ...body));
  return make("div", { className: "viewer-scroll", role: "region", "aria-label": title, tabIndex: 0 }, whole);
}

function named(id) {
  return make("span", {}, swatchOf(id), className(id));
}

function swatchOf(id) {
  const swatch = make("span", { className: "viewer-swatch" });
  const { colour, safe } = scene.value.classes[id];
  swatch.style.background = view.safe && safe ? backgroundOf(safe) : `rgb(${colour})`;
  return swatch;
}

function buildTables() {
  const t = words();
  const shares = scene.networks.map((network) => new Map(network.areas));
  const classRows = presentIds().map((id) => [named(id), ...shares.map((s) => (s.has(id) ? percent(s.get(id)) : "–"))]);
  const titles = scene.networks.map((n) => n.title);
  const ms = (seconds) => (1000 * seconds).toFixed(0) + " ms";
  const facts = [
    [t.networkTime, (n) => ms(n.network_seconds)],
    [t.totalTime, (n) => ms(n.seconds)],
    [t.input, (n) => `${n.size[1]} × ${n.size[0]}`],
    [t.parameters, (n) => (n.parameters / 1e6).toFixed(1) + " M"],
    [t.macs.replace("{size}", scene.networks[0].macs_input.join(" × ")), (n) => (n.macs / 1e9).toFixed(1) + " G"],
    [t.miou, (n) => (n.miou == null ? "–" : n.miou.toFixed(3))],
  ].map(([name, of]) => [name, ...scene.networks.map(of)]);
  part("tables").replaceChildren(
    table(t.sharesTitle, [t.class, ...titles], classRows),
    table(t.factsTitle, [t.network, ...titles], facts),
  );
}

function buildKey() {
  const key = part("key");
  if (!key) return;
  const items = scene.disagreement.shares.map((share, code) => {
    const swatch = make("span", { className: "viewer-swatch" });
    swatch.style.background = `rgb(${scene.disagreement.colours[code]})`;
    return make("li", {}, swatch, make("span", { textContent: agreement(code) }), make("b", { textContent: percent(share) }));
  });
  key.replaceChildren(make("ul", {}, ...items));
}

function agreement(code) {
  const t = words();
  if (code === 0) return t.allAgree;
  const all = scene.networks.length;
  if (all > 3) return t.someDiffer.replace("{count}", code).replace("{all}", all); // as seg/render.py counts them
  if (code > all) return t.allDiffer;
  return t.oneDiffers.replace("{network}", scene.networks[code - 1].title);
}

function nameAll() {
  const t = words();
  root.lang = props.lang === "zh" ? "zh-CN" : "en";
  part("empty").textContent = t.empty;
  if (!scene) return;
  part("opacity").firstElementChild.textContent = t.opacity;
  for (const pane of scene.panes) {
    pane.caption.textContent = t[pane.kind];
    pane.canvas.setAttribute("aria-label", `${inWords(pane)}. ${t.keys}`);
  }
  nameSafe();
  buildModes();
  buildChips();
  buildTables();
  buildKey();
  showReadout();
}

// What a picture shows, for who cannot see it.
function inWords({ kind, network }) {
  const t = words();
  const said = {
    original: () => `${scene.value.photo.original.join(" × ")} px`,
    disagreement: () => scene.disagreement.shares.map((share, code) => `${agreement(code)} ${percent(share)}`),
    confidence: () => [t.meanSure, ...meanSure(network).map(([id, sure]) => `${className(id)} ${sure} %`)],
  }[kind] || (() => network.areas.map(([id, share]) => `${className(id)} ${percent(share)}`));
  return `${t[kind]}${network ? ` (${network.title})` : ""}: ${[said()].flat().join(", ")}`;
}

// The mean confidence of every class found, whole percent, in the order of the areas.
function meanSure(network) {
  if (!network.means) {
    const [sums, counts] = [new Float64Array(256), new Float64Array(256)];
    network.ids.forEach((id, i) => {
      sums[id] += network.sure[i];
      counts[id]++;
    });
    network.means = network.areas.filter(([id]) => counts[id]).map(([id]) => [id, Math.round(sums[id] / counts[id] / 2.55)]);
  }
  return network.means;
}

function nameSafe() {
  const t = words();
  part("safe").title = part("safe").querySelector("input").title = t.safeTitle;
  part("safe").querySelector("span").textContent = t.safe;
  part("note").textContent = t.safeNote;
}

// --- what is here? --------------------------------------------------------------------------------------------------

function pointAt(event, pane) {
  const box = pane.canvas.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * scene.width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * scene.height);
  movePoint([x, y], pane, false);
}

function moveByKey(event, pane) {
  const step = event.shiftKey ? 1 : Math.max(1, Math.round(scene.width / 50));
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (event.key === "Escape") return clearPoint();
  if (!moves[event.key]) return;
  event.preventDefault();
  const [x, y] = view.point || [scene.width >> 1, scene.height >> 1];
  movePoint([x + moves[event.key][0], y + moves[event.key][1]], pane, true);
}

function movePoint([x, y], pane, byKey) {
  view.point = [Math.min(Math.max(x, 0), scene.width - 1), Math.min(Math.max(y, 0), scene.height - 1)];
  view.pane = pane;
  view.byKey = byKey;
  showReadout();
}

function clearPoint() {
  view.point = null;
  if (scene) showReadout();
}

function answerAt(network) {
  const i = view.point[1] * scene.width + view.point[0];
  return { name: className(network.ids[i]), sure: Math.round((100 * network.sure[i]) / 255) + " %" };
}

function showReadout() {
  const readout = part("readout");
  readout.classList.toggle("viewer-idle", !view.point);
  if (!view.point) {
    readout.textContent = TOUCH.matches ? words().hintTouch : words().hint;
    for (const pane of scene.panes) pane.figure.classList.remove("viewer-pointed");
    return;
  }
  const [x, y] = view.point;
  const several = scene.networks.length > 1;
  const said = scene.networks.map((network) => {
    const { name, sure } = answerAt(network);
    return `${several ? network.title + ": " : ""}${name} ${sure}`;
  });
  if (scene.disagreement) said.push(agreement(scene.disagreement.ids[y * scene.width + x]));
  const scale = scene.value.photo.original[0] / scene.width;
  readout.textContent = `${said.join("  ·  ")}  ·  x ${Math.floor(x * scale)}, y ${Math.floor(y * scale)}`;
  for (const pane of scene.panes) {
    pane.figure.classList.add("viewer-pointed");
    const left = (100 * (x + 0.5)) / scene.width;
    const top = (100 * (y + 0.5)) / scene.height;
    pane.mark.style.left = pane.tip.style.left = left + "%";
    pane.mark.style.top = pane.tip.style.top = top + "%";
    pane.tip.dataset.side = (left > 50 ? "left" : "right") + (top > 50 ? " above" : " below");
    const network = pane.network || (several ? null : scene.networks[0]);
    if (pane.kind === "disagreement") pane.tip.textContent = agreement(scene.disagreement.ids[y * scene.width + x]);
    else if (network && (several || pane === view.pane)) pane.tip.textContent = `${answerAt(network).name} ${answerAt(network).sure}`;
    else pane.tip.textContent = "";
  }
}

// --- life -----------------------------------------------------------------------------------------------------------

async function show() {
  const mine = ++arrival;
  const value = props.value;
  if (!value || !value.networks || !value.networks.length) {
    scene = null;
    part("body").hidden = true;
    part("empty").hidden = false;
    root.dataset.shown = "";
    nameAll();
    return;
  }
  const decoded = await decode(value);
  if (mine !== arrival) return;
  const samePhoto = scene && scene.value.photo.src === value.photo.src;
  if (!samePhoto) view.hidden.clear();
  // A comparison arrives network by network; its later parts must not pull away what somebody reads.
  const follows = samePhoto && value.comparing && value.networks.length > scene.networks.length;
  scene = decoded;
  view.point = null;
  part("panes").classList.toggle("viewer-comparing", Boolean(value.comparing));
  buildPanes();
  part("empty").hidden = true;
  part("body").hidden = false;
  nameAll();
  repaint();
  if (!follows) bringIntoView();
  root.dataset.shown = value.id; // tests and screenshots wait for this
}

// On a phone the result lies below the button that asked for it.
function bringIntoView() {
  if (!PHONE.matches || part("panes").getBoundingClientRect().top < innerHeight / 2) return; // seen, or in a hidden tab
  root.scrollIntoView({ behavior: CALM.matches ? "auto" : "smooth", block: "start" });
}

part("opacity").querySelector("input").addEventListener("input", (event) => {
  view.opacity = event.target.value / 100;
  part("opacity").querySelector("output").textContent = event.target.value + " %";
  drawPanes();
});
// --- the view for the colour-blind, see looks.js ----------------------------------------------------------------------

function applySafe(on) {
  view.safe = on;
  part("safe").querySelector("input").checked = on;
  part("note").hidden = !on;
  root.classList.toggle("viewer-patterned", on);
  if (!scene) return;
  buildChips();
  buildTables();
  repaint();
}

part("safe").querySelector("input").addEventListener("change", (event) => makeSafe(event.target.checked));
whenSafe(root, applySafe);
applySafe(isSafe());

watch("value", show);
watch("lang", () => nameAll());
show();
