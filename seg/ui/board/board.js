// The board of a lesson. Gradio runs this once per board and hands in `element`, `props`, `watch` and `trigger`.
//
// props.value  {id, blocks} or null, made by the functions of seg/ui/board/__init__.py
// props.lang   "en" or "zh"; both props may be missing at first. The page's own lang goes first: a board that was out of
//              sight when the language changed comes back without the new prop
// WORDS        the board's own words, put before this file by __init__.py, with looks.js
//
// Words are put in as text, never as HTML. A new language redraws; only `pick` and `choose` ask the server.

const root = element.querySelector(".board");
const SVG = "http://www.w3.org/2000/svg";
const DASHES = ["", "7 4", "2 4", "10 3 2 3", "4 2", "12 4", "1 3", "6 2 2 2"]; // lines differ without colour too
const page = document.documentElement;
const language = () => ((page.lang || props.lang || "").startsWith("zh") ? "zh" : "en");
const say = (words) => (words && typeof words === "object" ? words[language()] ?? words.en : String(words ?? ""));
const pointed = new Map(); // where somebody pointed last, by the picture's title: the keys go on from there
const open = new Set(); // titles of the tables somebody unfolded; outlives a new answer

function make(tag, attributes = {}, ...children) {
  const node = tag === "svg" || tag.startsWith("svg:") ? document.createElementNS(SVG, tag.replace("svg:", "")) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (value != null && value !== "" && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null && child !== ""));
  return node;
}

const heading = (words) => (say(words) ? make("h4", {}, say(words)) : null);

// --- blocks -----------------------------------------------------------------------------------------------------------

const BLOCKS = {
  text: ({ text, finding }) => make("p", { class: finding ? "board-finding" : "board-text" }, say(text)),
  pictures: (block) =>
    make("section", {}, heading(block.title),
      make("div", { class: block.items.length > 1 ? "board-pictures" : "board-pictures board-single", "--columns": block.columns }, ...block.items.map(onePicture))),
  strip: stripOf,
  table: (block) => make("section", {}, heading(block.title), scrolling(block.title || block.head[0], tableOf(block.head, block.rows))),
  grids: (block) => make("section", {}, heading(block.title), make("div", { class: "board-grids" }, ...block.items.map(oneGrid))),
  chart: chartOf,
};

const scrolling = (words, node) => make("div", { class: "board-scroll", role: "region", tabindex: 0, "aria-label": say(words) }, node);

// Columns of numbers stand right and whole, columns with words stand left and may break.
function tableOf(head, rows) {
  const said = (entry) => say(entry?.text ?? entry).trim();
  const kinds = head.map((_, i) => (rows.some((row) => /^[^\d+\-−–<×~≈]/.test(said(row[i]))) ? "board-words" : ""));
  const headRow = make("tr", {}, ...head.map((words, i) => make("th", { scope: "col", class: kinds[i] }, say(words))));
  const body = rows.map((row) => make("tr", {}, ...row.map((entry, i) => oneCell(entry, i === 0, kinds[i]))));
  return make("table", {}, make("thead", {}, headRow), make("tbody", {}, ...body));
}

function oneCell(entry, first, kind) {
  const rich = entry && typeof entry === "object" && "text" in entry;
  const node = make(first ? "th" : "td", { scope: first ? "row" : null, class: kind });
  if (rich && entry.swatch) node.append(swatchOf(entry));
  node.append(say(rich ? entry.text : entry));
  if (rich && entry.bar != null) {
    node.classList.add("board-bar");
    node.style.setProperty("--share", `${100 * Math.min(1, Math.max(0, entry.bar))}%`);
  }
  return node;
}

function swatchOf({ swatch, safe }) {
  const background = safe && isSafe() ? backgroundOf(safe) : `rgb(${swatch})`;
  return make("span", { class: "board-swatch", "--c": background });
}

function stripOf({ name, note, boxes }) {
  const row = boxes.map(({ words, height, width, colour, values, chosen }, i) =>
    make("button", {
      type: "button", title: say(words), "aria-label": `${say(name)}, ${say(words)}`, "aria-pressed": String(chosen),
      onclick: () => trigger("choose", values),
    }, make("span", { class: "board-box", "--h": height, "--w": width, "--c": `var(--line-${colour})` }), make("span", {}, String(i + 1))));
  const caption = make("figcaption", {}, say(name), make("span", { class: "board-note" }, ` ${say(note)}`));
  return make("section", {}, make("figure", {}, caption, scrolling(name, make("div", { class: "board-strip" }, ...row))));
}

function showInRow(box) {
  const [row, inside] = [box.closest(".board-scroll"), box.closest(".board-scroll").getBoundingClientRect()];
  const here = box.getBoundingClientRect();
  if (here.right > inside.right || here.left < inside.left) row.scrollLeft += here.left - inside.left - (inside.width - here.width) / 2;
}

function oneGrid({ values, title, note, marked }) {
  const numbers = values.flat().filter((v) => v != null);
  const most = Math.max(1e-9, ...numbers.map(Math.abs));
  const thick = new Set(marked.map(String));
  const rows = values.map((row, r) =>
    make("tr", {}, ...row.map((v, c) => {
      const shade = v == null ? 0 : Math.round((55 * Math.abs(v)) / most);
      const kind = [v < 0 ? "board-below" : "board-above", thick.has(`${r},${c}`) ? "board-marked" : ""].join(" ");
      return make("td", { class: kind, "--shade": `${shade}%` }, v == null ? "" : String(v));
    })),
  );
  const caption = make("figcaption", {}, say(title));
  const foot = say(note) ? make("p", { class: "board-note" }, say(note)) : null;
  return make("figure", { class: "board-grid" }, caption, scrolling(title, make("table", {}, make("tbody", {}, ...rows))), foot);
}

// --- pictures ---------------------------------------------------------------------------------------------------------

function onePicture(item) {
  const image = make("img", { src: (isSafe() && item.safe) || item.src, width: item.width, height: item.height, class: item.pixelated ? "board-pixels" : "" });
  image.alt = [item.title, item.note, item.alt].map(say).filter(Boolean).join(". ");
  const frame = make("div", { class: "board-frame" }, image, shapesOf(item));
  if (item.pick) makePickable(frame, item, image.alt);
  const note = say(item.note) ? make("p", { class: "board-note" }, say(item.note)) : null;
  return make("figure", {}, make("figcaption", {}, say(item.title)), frame, note);
}

function shapesOf({ width, height, shapes }) {
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  const stroke = { fill: "none", "vector-effect": "non-scaling-stroke" };
  for (const s of shapes) {
    for (const [colour, more] of [["black", 3], [s.colour, 0]]) { // a dark rim first: seen on any photo
      if (s.kind === "dot") {
        const at = `M ${s.x} ${s.y} h 0`; // a line of no length with round ends is a disc of constant size
        svg.append(make("svg:path", { ...stroke, d: at, stroke: colour, "stroke-linecap": "round", "stroke-width": s.size + more }));
      } else {
        const at = { x: s.x0, y: s.y0, width: Math.max(0, s.x1 - s.x0), height: Math.max(0, s.y1 - s.y0) };
        svg.append(make("svg:rect", { ...stroke, ...at, stroke: colour, "stroke-width": 2 + more, "stroke-dasharray": s.dashed ? "6 5" : null }));
      }
    }
  }
  return svg;
}

function makePickable(frame, item, inWords) {
  const cross = make("span", { class: "board-cross" });
  cross.hidden = true;
  const name = JSON.stringify(item.title);
  let at = pointed.get(name) || [0.5, 0.5];
  frame.dataset.focus = name; // what it is called changes with the place, this does not
  frame.classList.add("board-pick");
  frame.append(cross);
  frame.tabIndex = 0;
  frame.setAttribute("role", "button");
  frame.setAttribute("aria-label", `${inWords}. ${say(WORDS.keys)}`);
  const show = (visible) => {
    cross.hidden = !visible;
    cross.style.left = 100 * at[0] + "%";
    cross.style.top = 100 * at[1] + "%";
  };
  const ask = () => {
    pointed.set(name, at);
    trigger("pick", { x: at[0], y: at[1] });
  };
  frame.addEventListener("click", (event) => {
    const inside = frame.getBoundingClientRect();
    at = [(event.clientX - inside.left) / inside.width, (event.clientY - inside.top) / inside.height].map((v) => Math.min(0.9999, Math.max(0, v)));
    show(true);
    ask();
  });
  frame.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Enter" || event.key === " ") ask();
    else if (moves[event.key]) at = at.map((v, i) => Math.min(0.9999, Math.max(0, v + moves[event.key][i] * (event.shiftKey ? 0.005 : 0.03))));
    else return;
    event.preventDefault();
    show(true);
  });
  frame.addEventListener("blur", () => show(false));
}

// --- line chart -------------------------------------------------------------------------------------------------------

function chartOf(block) {
  const [W, H, left, right, top, bottom] = [640, 264, 52, 40, 16, 48];
  const known = block.lines.flatMap((line) => line.values).filter((v) => v != null);
  const ticks = ticksOf(...(block.y_range || rangeOf(known)));
  const [low, high] = [ticks[0], ticks.at(-1)];
  const first = Math.min(...block.x);
  const span = Math.max(...block.x) - first || 1;
  const px = (x) => left + ((x - first) / span) * (W - left - right);
  const py = (y) => top + (1 - (y - low) / (high - low || 1)) * (H - top - bottom);
  const nameOf = (i) => (block.x_names ? say(block.x_names[i]) : String(+block.x[i].toPrecision(4)));
  const label = [say(block.title), ...block.lines.map((line) => `${say(line.name)}: ${line.values.map((v, i) => `${nameOf(i)} ${short(v)}`).join(", ")}`)].join(". ");
  const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label, class: "board-chart" });
  for (const y of ticks) {
    svg.append(make("svg:line", { x1: left, x2: W - right, y1: py(y), y2: py(y), class: "board-rule" }));
    svg.append(make("svg:text", { x: left - 8, y: py(y) + 4, "text-anchor": "end" }, short(y)));
  }
  const every = Math.ceil(block.x.length / 9);
  block.x.forEach((x, i) => i % every === 0 && svg.append(make("svg:text", { x: px(x), y: H - bottom + 24, "text-anchor": "middle" }, nameOf(i))));
  svg.append(make("svg:text", { x: (left + W - right) / 2, y: H - 4, "text-anchor": "middle" }, say(block.x_label)));
  block.lines.forEach((line, i) => {
    const colour = `var(--line-${i % 8})`;
    let d = "";
    line.values.forEach((v, j) => { if (v != null) d += `${d && line.values[j - 1] != null ? "L" : "M"}${px(block.x[j])} ${py(v)}`; });
    svg.append(make("svg:path", { d, fill: "none", "stroke-width": 2.5, "stroke-dasharray": DASHES[i % 8], "--c": colour, class: "board-line" }));
    line.values.forEach((v, j) => v != null && svg.append(make("svg:circle", { cx: px(block.x[j]), cy: py(v), r: 3, "--c": colour, class: "board-spot" })));
  });
  const key = make("ul", { class: "board-key" }, ...block.lines.map((line, i) => {
    const stroke = make("svg", { viewBox: "0 0 30 8", width: 30, height: 8, "aria-hidden": "true" });
    stroke.append(make("svg:line", { x1: 0, x2: 30, y1: 4, y2: 4, "stroke-width": 3, "stroke-dasharray": DASHES[i % 8], "--c": `var(--line-${i % 8})`, class: "board-line" }));
    return make("li", {}, stroke, say(line.name));
  }));
  const rows = block.x.map((_, i) => [nameOf(i), ...block.lines.map((line) => short(line.values[i]))]);
  const head = [say(block.x_label), ...block.lines.map((line) => say(line.name))];
  const id = JSON.stringify(block.title);
  const details = make("details", { ontoggle: () => (details.open ? open.add(id) : open.delete(id)) },
    make("summary", {}, say(WORDS.table)), scrolling(WORDS.table, tableOf(head, rows)));
  details.open = open.has(id);
  const axis = say(block.y_label) ? make("p", { class: "board-note" }, "↑ " + say(block.y_label)) : null;
  return make("section", {}, heading(block.title), key, axis, svg, details);
}

const short = (v) => (v == null ? "–" : String(+v.toPrecision(3)));

// Round numbers with the same steps (1, 2, 2.5 or 5 times a power of ten), four to six of them, from at most `low` to at least `high`.
function ticksOf(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((times) => times * power >= rough * 0.999);
  const from = Math.floor(low / step + 1e-6);
  const to = Math.ceil(high / step - 1e-6);
  return Array.from({ length: to - from + 1 }, (_, i) => (from + i) * step);
}

function rangeOf(values) {
  if (!values.length) return [0, 1];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

// Above what has other colours to offer, the switch to them.
function safeSwitch(blocks) {
  if (!blocks.some((block) => block.items?.some((item) => item.safe))) return null;
  const box = make("input", { type: "checkbox", "aria-label": say(WORDS.safe), onchange: () => makeSafe(box.checked) });
  box.checked = isSafe();
  return make("label", { class: "board-safe", title: say(WORDS.safeTitle) }, box, say(WORDS.safe));
}

// --- life -------------------------------------------------------------------------------------------------------------

function draw() {
  const value = props.value;
  const nameOf = (node) => node.dataset.focus || node.getAttribute("aria-label");
  const focused = root.contains(document.activeElement) ? nameOf(document.activeElement) : null;
  root.lang = language() === "zh" ? "zh-CN" : "en";
  const empty = root.querySelector(".board-empty");
  empty.textContent = say(WORDS.empty);
  empty.hidden = Boolean(value);
  const blocks = value ? value.blocks : [];
  const drawn = [safeSwitch(blocks), ...blocks.map((block) => BLOCKS[block.kind](block))];
  root.querySelector(".board-blocks").replaceChildren(...drawn.filter(Boolean));
  for (const box of root.querySelectorAll('.board-strip [aria-pressed="true"]')) showInRow(box);
  if (focused) [...root.querySelectorAll("[aria-label]")].find((node) => nameOf(node) === focused)?.focus({ preventScroll: true });
  root.dataset.shown = value ? value.id : ""; // tests and screenshots wait for this
}

watch("value", draw);
watch("lang", draw);
whenSafe(root, draw);
// page.js sets the page's lang again and again, also to what it is: draw only what is in the wrong language.
new MutationObserver((_, observer) => {
  if (!root.isConnected) observer.disconnect();
  else if (!root.lang.startsWith(language())) draw();
}).observe(page, { attributeFilter: ["lang"] });
draw();
