// A canvas to paint class ids on the photo. Gradio runs this once and hands in `element`, `props`, `watch` and
// `trigger`.
//
// props.photo  {key, src, width, height} or null: what to paint on
// props.lang   "en" or "zh"
// props.value  what was handed in: {key, width, height, runs}, or null; only the button sets it
// WORDS, CLASSES, NONE: put before this file by __init__.py
//
// `ids` holds one class id per pixel, NONE where nothing is painted. The canvas only shows it.

const root = element.querySelector(".painter");
const canvas = root.querySelector("canvas");
const picture = root.querySelector("img");
const cursor = root.querySelector(".painter-cursor");
const pen = canvas.getContext("2d");
const MAX_UNDO = 20;
const page = document.documentElement; // its lang goes first: what was out of sight may have missed the new prop
const language = () => ((page.lang || props.lang || "").startsWith("zh") ? "zh" : "en");
const say = (words) => words[language()];

let ids = new Uint8Array(0);
let [width, height] = [0, 0];
let before = []; // earlier states of `ids`
let chosen = 1; // the class that the brush paints
let tool = "brush";
let radius = 8;
let at = { x: 0, y: 0 };

// --- painting ---------------------------------------------------------------------------------------------------------

const remember = () => {
  before.push(ids.slice());
  if (before.length > MAX_UNDO) before.shift();
};

function disc(x, y) {
  for (let dy = -radius; dy <= radius; dy++) {
    const row = y + dy;
    if (row < 0 || row >= height) continue;
    const half = Math.floor(Math.sqrt(radius * radius - dy * dy));
    const from = Math.max(0, x - half);
    const to = Math.min(width, x + half + 1);
    if (from < to) ids.fill(chosen, row * width + from, row * width + to);
  }
}

function line(from, to) {
  const steps = Math.max(1, Math.abs(to.x - from.x), Math.abs(to.y - from.y));
  for (let i = 0; i <= steps; i++) {
    disc(Math.round(from.x + ((to.x - from.x) * i) / steps), Math.round(from.y + ((to.y - from.y) * i) / steps));
  }
  show(Math.min(from.x, to.x) - radius, Math.min(from.y, to.y) - radius, Math.max(from.x, to.x) + radius, Math.max(from.y, to.y) + radius);
}

function fill(x, y) {
  const old = ids[y * width + x];
  if (old === chosen) return;
  const waiting = [y * width + x];
  while (waiting.length) {
    const place = waiting.pop();
    if (ids[place] !== old) continue;
    ids[place] = chosen;
    const column = place % width;
    if (column > 0) waiting.push(place - 1);
    if (column < width - 1) waiting.push(place + 1);
    if (place >= width) waiting.push(place - width);
    if (place < ids.length - width) waiting.push(place + width);
  }
  show();
}

/** Draw the part of `ids` from (x0, y0) to (x1, y1); all of it by default. */
function show(x0 = 0, y0 = 0, x1 = width - 1, y1 = height - 1) {
  [x0, y0] = [Math.max(0, x0), Math.max(0, y0)];
  [x1, y1] = [Math.min(width - 1, x1), Math.min(height - 1, y1)];
  if (x1 < x0 || y1 < y0) return;
  const part = pen.createImageData(x1 - x0 + 1, y1 - y0 + 1);
  let to = 0;
  for (let y = y0; y <= y1; y++) {
    for (let x = x0; x <= x1; x++, to += 4) {
      const id = ids[y * width + x];
      if (id === NONE) continue;
      part.data.set(CLASSES[id].colour, to);
      part.data[to + 3] = id ? 170 : 110; // the background is black: let the photo show through
    }
  }
  pen.putImageData(part, x0, y0);
}

function runs() {
  const found = [];
  for (let from = 0; from < ids.length; ) {
    let to = from + 1;
    while (to < ids.length && ids[to] === ids[from]) to++;
    found.push(ids[from], to - from);
    from = to;
  }
  return found;
}

// --- tools ------------------------------------------------------------------------------------------------------------

function button(key, act, kind = "") {
  const node = document.createElement("button");
  node.type = "button";
  node.className = kind;
  node.dataset.tool = key;
  node.textContent = say(WORDS[key]);
  node.addEventListener("click", act);
  return node;
}

function labelled(key, ...nodes) {
  const label = document.createElement("label");
  label.append(say(WORDS[key]), ...nodes);
  return label;
}

function change(act) {
  remember();
  act();
  show();
}

function drawTools() {
  const swatch = document.createElement("span");
  swatch.className = "painter-swatch";
  const select = document.createElement("select");
  const options = [...CLASSES.map((words, id) => [id, words]), [NONE, WORDS.none]];
  for (const [id, words] of options) select.append(new Option(say(words), id, false, id === chosen));
  const choose = () => {
    chosen = Number(select.value);
    swatch.style.background = chosen === NONE ? "transparent" : `rgb(${CLASSES[chosen].colour})`;
  };
  select.addEventListener("change", choose);
  choose();
  const size = document.createElement("input");
  Object.assign(size, { type: "range", min: 1, max: 40, value: radius });
  size.addEventListener("input", () => { radius = Number(size.value); moveCursor(); });
  const tools = ["brush", "bucket"].map((key) => button(key, () => {
    tool = key;
    for (const node of tools) node.setAttribute("aria-pressed", node.dataset.tool === tool);
  }));
  for (const node of tools) node.setAttribute("aria-pressed", node.dataset.tool === tool);
  root.querySelector(".painter-tools").replaceChildren(
    labelled("class", swatch, select),
    ...tools,
    labelled("size", size),
    button("undo", () => { if (before.length) { ids = before.pop(); show(); } }),
    button("rest", () => change(() => ids.forEach((id, i) => { if (id === NONE) ids[i] = 0; }))),
    button("clear", () => change(() => ids.fill(NONE))),
    button("done", () => { props.value = { key: props.photo.key, width, height, runs: runs() }; }, "painter-done"),
  );
  root.lang = language() === "zh" ? "zh-CN" : "en";
  root.querySelector(".painter-help").textContent = say(WORDS.help);
  root.querySelector(".painter-empty").textContent = say(WORDS.empty);
  canvas.setAttribute("aria-label", say(WORDS.canvas));
}

// --- pointer and keys -------------------------------------------------------------------------------------------------

function moveCursor() {
  const scale = canvas.clientWidth / width;
  const across = Math.max(6, 2 * radius * scale);
  Object.assign(cursor.style, { left: `${(100 * at.x) / width}%`, top: `${(100 * at.y) / height}%`, width: `${across}px`, height: `${across}px` });
}

const place = (event) => {
  const frame = canvas.getBoundingClientRect();
  const inside = (share, length) => Math.min(length - 1, Math.max(0, Math.floor(share * length)));
  return { x: inside((event.clientX - frame.left) / frame.width, width), y: inside((event.clientY - frame.top) / frame.height, height) };
};

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  at = place(event);
  remember();
  if (tool === "bucket") fill(at.x, at.y);
  else line(at, at);
});
canvas.addEventListener("pointermove", (event) => {
  const to = place(event);
  if (event.buttons && tool === "brush") line(at, to);
  at = to;
});
canvas.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const move = moves[event.key];
  if (move) {
    const step = Math.max(2, Math.round(radius / 2));
    const to = { x: Math.min(width - 1, Math.max(0, at.x + step * move[0])), y: Math.min(height - 1, Math.max(0, at.y + step * move[1])) };
    if (event.shiftKey) { if (!event.repeat) remember(); line(at, to); }
    at = to;
  } else if (event.key === " " || event.key === "Enter") {
    remember();
    if (tool === "bucket") fill(at.x, at.y);
    else line(at, at);
  } else return;
  event.preventDefault();
  moveCursor();
  cursor.hidden = false;
});
canvas.addEventListener("focus", () => { if (canvas.matches(":focus-visible")) { cursor.hidden = false; moveCursor(); } });
canvas.addEventListener("blur", () => { cursor.hidden = true; });

// --- life -------------------------------------------------------------------------------------------------------------

function newPhoto() {
  const photo = props.photo;
  root.querySelector(".painter-empty").hidden = Boolean(photo);
  root.querySelector(".painter-work").hidden = !photo;
  if (root.dataset.key === (photo ? photo.key : "")) return; // the same photo keeps its painting
  root.dataset.key = photo ? photo.key : "";
  if (!photo) return;
  picture.src = photo.src;
  ({ width, height } = photo);
  [canvas.width, canvas.height] = [width, height];
  ids = new Uint8Array(width * height).fill(NONE);
  if (props.value?.key === photo.key) restore(props.value);
  before = [];
  at = { x: Math.floor(width / 2), y: Math.floor(height / 2) };
}

/** What was handed in, after the canvas has been out of sight. */
function restore(value) {
  let place = 0;
  for (let i = 0; i < value.runs.length; i += 2) {
    ids.fill(value.runs[i], place, place + value.runs[i + 1]);
    place += value.runs[i + 1];
  }
  show();
}

watch("photo", newPhoto);
watch("lang", drawTools);
new MutationObserver((_, observer) => {
  if (!root.isConnected) observer.disconnect();
  else if (!root.lang.startsWith(language())) drawTools();
}).observe(page, { attributeFilter: ["lang"] });
drawTools();
newPhoto();
setTimeout(() => trigger("wants", {})); // a canvas that was out of sight may have missed its photo
