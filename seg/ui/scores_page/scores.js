// The board of the tab "Scores". Gradio runs this once and hands in `element`, `props` and `watch`. Sorting, filtering and
// pointing happen here, without asking the server. Whatever comes from a card is put in as text, never as HTML.
//
// props.value  {lang, groups: [{name, classes, networks}]}, made by seg/ui/scores.py; a figure nobody measured is null
// TEXT         the words per language, put before this file by scores.py

const root = element.querySelector(".scores");
const SVG = "http://www.w3.org/2000/svg";
const COLUMNS = ["miou", "pixel_acc", "mean_acc", "fwiou", "boundary_f", "parameters", "macs", "bytes", "seconds"];
const SHARES = new Set(COLUMNS.slice(0, 5));
const LINES = ["", "7 4", "2 4", "10 3 2 3", "4 2", "12 4", "1 3", "6 2 2 2"]; // tell lines apart without colour
const DASH = "–";
const views = new Map(); // a group's name -> what somebody has chosen there; outlives another language and new times
const stop = {}; // per group, the observer of its curve's width
let value = null;

const words = () => TEXT[value.lang] || TEXT.en;
const fill = (text, values) => text.replace(/{(\w+)}/g, (_, name) => values[name]);
const percent = (share) => (share > 0 && share < 0.005 ? "<1" : (100 * share).toFixed(0)) + " %";
const WRITERS = {
  parameters: (n) => (n / 1e6).toFixed(1) + " M",
  macs: (n) => (n / 1e9).toFixed(1) + " G",
  bytes: (n) => (n / 1e6).toFixed(1) + " MB",
  seconds: (n) => (1000 * n).toFixed(0) + " ms",
};
const write = (key, n) => (n == null ? DASH : SHARES.has(key) ? n.toFixed(3) : WRITERS[key](n));
const range = (network) => (network.interval ? network.interval.map((end) => end.toFixed(3)).join(DASH) : "");

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  put(node, attributes);
  node.append(...children);
  return node;
}

function draw(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  put(node, attributes);
  node.append(...children);
  return node;
}

function put(node, attributes) {
  for (const [name, entry] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), entry);
    else if (name === "style") for (const [key, to] of Object.entries(entry)) node.style.setProperty(key, to);
    else if (entry != null) node.setAttribute(name, entry);
  }
}

const key = (n, i) => make("span", { class: "scores-key", "aria-hidden": "true", style: { "--c": `var(--line-${i % 8})` } });

// --- a group of networks with the same classes ------------------------------------------------------------------------

function viewOf(group) {
  const id = JSON.stringify([group.name, group.networks[0].name]);
  if (!views.has(id)) {
    const all = new Set(group.classes.keys());
    const view = { id, off: new Set(), classes: all, sort: null, heat: null, matrix: null, open: new Set(), at: [0, 0] };
    views.set(id, view);
  }
  return views.get(id);
}

function shownNetworks(group, view) {
  const shown = group.networks.filter((n) => !view.off.has(n.name));
  return view.sort ? sorted(shown, (n) => (view.sort.key === "title" ? n.title : n[view.sort.key]), view.sort.up) : shown;
}

// What has no figure stands last, whichever way.
function sorted(list, of, up) {
  const sign = up ? 1 : -1;
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  return [...list].sort((a, b) => {
    const [x, y] = [of(a), of(b)];
    if (x == null || y == null) return (x == null) - (y == null);
    return sign * compare(x, y);
  });
}

function nextSort(now, wanted, first) {
  if (!now || now.key !== wanted) return { key: wanted, up: first };
  return now.up === first ? { key: wanted, up: !first } : null; // the third press: as in the beginning
}

function sortHeading(text, name, now, choose, focus) {
  const mark = now && now.key === name ? (now.up ? "▲" : "▼") : "";
  const button = make("button", { type: "button", "data-focus": focus, onclick: choose }, text);
  button.append(make("span", { class: "scores-arrow", "aria-hidden": "true" }, mark));
  const state = now && now.key === name ? (now.up ? "ascending" : "descending") : "none";
  return make("th", { scope: "col", "aria-sort": state }, button);
}

function section(title, ...children) {
  return make("section", {}, make("h3", {}, title), ...children.filter(Boolean));
}

function note(text) {
  return make("p", { class: "scores-note" }, text);
}

function folding(view, name, title, ...children) {
  const details = make("details", { ontoggle: () => (details.open ? view.open.add(name) : view.open.delete(name)) });
  details.open = view.open.has(name);
  details.append(make("summary", { "data-focus": "fold " + name }, title), ...children);
  return details;
}

const scrolling = (label, table) => make("div", { class: "scores-scroll", role: "region", "aria-label": label, tabindex: 0 }, table);

// --- filters ----------------------------------------------------------------------------------------------------------

function filters(group, view, again) {
  const t = words();
  const toggle = (on, name, flip, ...label) =>
    make("button", { type: "button", class: "scores-chip", "aria-pressed": on, "data-focus": name, onclick: () => again(flip) }, ...label);
  const networks = group.networks.map((n, i) => {
    const flip = () => view.off.delete(n.name) || view.off.add(n.name);
    return toggle(!view.off.has(n.name), "network " + n.name, flip, key(n, i), n.title);
  });
  const classes = group.classes.map((name, id) => {
    const flip = () => view.classes.delete(id) || view.classes.add(id);
    return toggle(view.classes.has(id), "class " + id, flip, name);
  });
  const press = (text, focus, change) =>
    make("button", { type: "button", class: "scores-link", "data-focus": focus, onclick: () => again(change) }, text);
  const every = press(t.all, "every class", () => (view.classes = new Set(group.classes.keys())));
  const none = press(t.none, "no class", () => (view.classes = new Set()));
  const title = fill(t.classFilter, { chosen: view.classes.size, count: group.classes.length });
  return make(
    "div",
    { class: "scores-filters" },
    make("div", { class: "scores-chips", role: "group", "aria-label": t.networks }, ...networks),
    folding(view, "classes", title, make("div", { class: "scores-chips", role: "group", "aria-label": title }, every, none, ...classes)),
  );
}

// --- mIoU with its interval -------------------------------------------------------------------------------------------

function bars(group, networks) {
  const t = words();
  const place = (share) => 100 * share + "%";
  const told = (n) => `${n.title} ${n.miou == null ? t.notScored : write("miou", n.miou)} ${range(n)}`.trim();
  const rows = networks.map((n) => {
    const track = make("span", { class: "scores-track" });
    if (n.miou != null) track.append(make("span", { class: "scores-bar", style: { width: place(n.miou) } }));
    if (n.miou != null && n.interval) {
      const [low, high] = n.interval;
      track.append(make("span", { class: "scores-whisker", style: { left: place(low), width: place(high - low) } }));
    }
    const number = make("span", { class: "scores-number" }, make("b", {}, n.miou == null ? t.notScored : write("miou", n.miou)));
    if (range(n)) number.append(" ", make("small", {}, range(n)));
    const i = group.networks.indexOf(n);
    return make("div", { class: "scores-row", style: { "--c": `var(--line-${i % 8})` } }, make("span", { class: "scores-name" }, n.title), track, number);
  });
  const label = `${t.interval}: ${networks.map(told).join("; ")}`;
  return section(t.interval, make("div", { class: "scores-bars", role: "img", "aria-label": label }, ...rows), note(t.intervalNote));
}

// --- figures ----------------------------------------------------------------------------------------------------------

function figures(group, networks, view, again) {
  const t = words();
  const sizes = new Set(group.networks.map((n) => n.macs_input.join(" × ")));
  const title = (name) => (name === "macs" && sizes.size === 1 ? fill(t.macsAt, { size: [...sizes][0] }) : t[name]);
  const heading = (text, name, first) => {
    const choose = () => again(() => (view.sort = nextSort(view.sort, name, first)));
    return sortHeading(text, name, view.sort, choose, "sort " + name);
  };
  const heads = [heading(t.network, "title", true), ...COLUMNS.map((name, i) => heading(title(name), name, i > 4))];
  const best = {};
  const comparable = (name) => (SHARES.has(name) ? new Set(networks.filter((n) => n.miou != null).map((n) => n.data)).size : name === "macs" ? sizes.size : 1) === 1;
  for (const name of COLUMNS.filter(comparable)) {
    const known = networks.map((n) => n[name]).filter((n) => n != null);
    if (known.length > 1) best[name] = SHARES.has(name) ? Math.max(...known) : Math.min(...known);
  }
  const rows = networks.map((n) => {
    const cells = COLUMNS.map((name) => {
      const cell = make("td", { "data-column": name }, write(name, n[name]));
      if (n[name] != null && n[name] === best[name]) cell.classList.add("scores-best");
      if (name === "macs" && sizes.size > 1 && n.macs) cell.append(make("small", {}, ` ${n.macs_input.join(" × ")}`));
      return cell;
    });
    return make("tr", { "data-network": n.name }, make("th", { scope: "row" }, n.title), ...cells);
  });
  const table = make("table", { class: "scores-figures" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
  const timed = group.networks.find((n) => n.seconds != null);
  const time = !timed ? t.timeNone : timed.asked ? fill(t.timeAsked, timed) : t.timeServed;
  const list = COLUMNS.slice(0, 5).flatMap((name) => [make("dt", {}, t[name]), make("dd", {}, t["meaning_" + name])]);
  return section(t.figures, scrolling(t.figures, table), note(`${t.sortHint} ${time}`), folding(view, "meaning", t.meaning, make("dl", {}, ...list)));
}

// --- IoU per class ----------------------------------------------------------------------------------------------------

// Cells are coloured by lightness, the same for every eye; the number stands in black or white, whichever is clearer.
function heat(cell, depth) {
  cell.style.setProperty("--depth", (100 * depth).toFixed(1) + "%");
  cell.classList.add("scores-heat");
  // Where black and white are equally clear, 4.6 : 1: between the light scheme's colours at 0.685, the dark one's at 0.43.
  cell.classList.toggle("scores-deep", depth > 0.685);
  cell.classList.toggle("scores-bright", depth > 0.43);
}

function classTable(group, networks, view, again) {
  const t = words();
  const scored = networks.filter((n) => n.iou);
  if (!scored.length) return null;
  let ids = [...group.classes.keys()].filter((id) => view.classes.has(id));
  const by = view.heat && scored.find((n) => n.name === view.heat.key);
  if (by) ids = sorted(ids, (id) => by.iou[id], view.heat.up);
  else if (view.heat && view.heat.key === "") ids = sorted(ids, (id) => group.classes[id], view.heat.up);
  const heading = (text, name) => {
    const choose = () => again(() => (view.heat = nextSort(view.heat, name, name === "")));
    return sortHeading(text, name, view.heat, choose, "heat " + name);
  };
  const rows = ids.map((id) => {
    const cells = scored.map((n) => {
      const cell = make("td", {}, n.iou[id] == null ? DASH : n.iou[id].toFixed(2));
      if (n.iou[id] != null) heat(cell, n.iou[id]);
      return cell;
    });
    return make("tr", { "data-class": id }, make("th", { scope: "row" }, group.classes[id]), ...cells);
  });
  const heads = [heading(t.class, ""), ...scored.map((n) => heading(n.title, n.name))];
  const table = make("table", { class: "scores-classes" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
  const scale = make("div", { class: "scores-scale", "aria-hidden": "true" }, "0", make("span"), "1");
  return section(t.iou, scrolling(t.iou, table), scale);
}

// --- accuracy near borders --------------------------------------------------------------------------------------------

function bands(group, networks, view) {
  const t = words();
  const measured = networks.filter((n) => n.trimap);
  if (!measured.length) return null;
  const count = Math.max(...measured.map((n) => n.trimap.length));
  const holder = make("div", { class: "scores-curve" });
  const readout = make("p", { class: "scores-readout", "aria-live": "polite" }, t.bandsHint);
  const at = (width) => {
    const values = measured.map((n) => `${n.title} ${n.trimap[width - 1] == null ? DASH : (100 * n.trimap[width - 1]).toFixed(1) + " %"}`);
    return fill(t.bandsAt, { width, values: values.join(value.lang === "zh" ? "，" : ", ") });
  };
  const paint = () => holder.clientWidth && holder.replaceChildren(curve(group, measured, count, holder.clientWidth, at, readout));
  stop[view.id]?.disconnect();
  stop[view.id] = new ResizeObserver(paint);
  stop[view.id].observe(holder);
  const widths = Array.from({ length: count }, (_, i) => i + 1);
  const rows = measured.map((n) =>
    make("tr", {}, make("th", { scope: "row" }, n.title), ...widths.map((w) => make("td", {}, n.trimap[w - 1] == null ? DASH : (100 * n.trimap[w - 1]).toFixed(1) + " %"))),
  );
  const head = make("tr", {}, make("th", { scope: "col" }, t.distance), ...widths.map((w) => make("th", { scope: "col" }, String(w))));
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
  return section(t.bands, note(t.bandsNote), readout, holder, folding(view, "bands", t.bandsTable, scrolling(t.bandsTable, table)));
}

function curve(group, networks, count, width, at, readout) {
  const t = words();
  const height = 250;
  const narrow = width < 480;
  const [left, top, bottom] = [44, 10, 40];
  const right = narrow ? 12 : 130;
  const known = networks.flatMap((n) => n.trimap);
  const low = Math.floor(10 * Math.min(...known)) / 10;
  const high = Math.max(low + 0.1, Math.ceil(10 * Math.max(...known)) / 10);
  const x = (w) => left + ((w - 1) / Math.max(1, count - 1)) * (width - left - right);
  const y = (share) => top + ((high - share) / (high - low)) * (height - top - bottom);
  const label = `${t.bands}. ${at(1)}. ${at(count)}. ${t.bandsHint}`;
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, tabindex: 0, "data-focus": "curve" });
  const write = (text, attributes) => svg.append(draw("text", attributes, text));
  for (let tick = Math.round(10 * low); tick <= Math.round(10 * high); tick++) {
    const h = y(tick / 10);
    svg.append(draw("line", { x1: left, x2: width - right, y1: h, y2: h, class: "scores-grid" }));
    write(10 * tick + " %", { x: left - 6, y: h + 4, "text-anchor": "end" });
  }
  const ticks = new Set([1, ...[5, 10, 15, 20].filter((w) => w <= count), count]);
  for (const w of ticks) write(String(w), { x: x(w), y: height - bottom + 18, "text-anchor": "middle" });
  write(t.bandsAxis, { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" });
  const ends = [];
  for (const n of networks) {
    const i = group.networks.indexOf(n);
    const style = { "--c": `var(--line-${i % 8})` };
    const points = n.trimap.map((share, j) => `${x(j + 1).toFixed(1)},${y(share).toFixed(1)}`).join(" ");
    svg.append(draw("polyline", { points, class: "scores-line", "stroke-dasharray": LINES[i % 8], style }));
    ends.push({ n, style, x: x(n.trimap.length), y: y(n.trimap.at(-1)) });
  }
  if (!narrow) {
    ends.sort((a, b) => a.y - b.y);
    ends.forEach((end, i) => (end.text = i ? Math.max(end.y, ends[i - 1].text + 16) : end.y)); // no name over another
    for (const end of ends) write(end.n.title, { x: end.x + 8, y: end.text + 4, class: "scores-end", style: end.style });
  }
  const cursor = draw("line", { y1: top, y2: height - bottom, class: "scores-cursor", visibility: "hidden" });
  svg.append(cursor);
  let here = 0;
  const point = (w) => {
    here = Math.min(count, Math.max(1, w));
    put(cursor, { x1: x(here), x2: x(here), visibility: "visible" });
    readout.textContent = at(here);
  };
  const leave = () => {
    cursor.setAttribute("visibility", "hidden");
    readout.textContent = t.bandsHint;
  };
  const pointer = (event) => point(Math.round(1 + ((event.clientX - svg.getBoundingClientRect().left - left) / (width - left - right)) * (count - 1)));
  const pressed = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    point(here + step);
  };
  put(svg, { onpointermove: pointer, onpointerdown: pointer, onpointerleave: leave, onfocus: () => point(here || 1), onblur: leave, onkeydown: pressed });
  if (!narrow) return svg;
  const legend = networks.map((n) => {
    const i = group.networks.indexOf(n);
    const sample = draw("line", { x1: 0, x2: 28, y1: 6, y2: 6, class: "scores-line", "stroke-dasharray": LINES[i % 8], style: { "--c": `var(--line-${i % 8})` } });
    return make("span", {}, draw("svg", { width: 28, height: 12 }, sample), n.title);
  });
  return make("div", {}, make("div", { class: "scores-legend", "aria-hidden": "true" }, ...legend), svg);
}

// --- what is taken for what -------------------------------------------------------------------------------------------

// --- how they learned --------------------------------------------------------------------------------------------------

function learning(group, networks, view) {
  const t = words();
  const known = networks.filter((n) => n.curves);
  if (!known.length) return null;
  const [width, height, left, right, top, bottom] = [640, 230, 44, 24, 10, 40];
  const steps = Math.max(...known.flatMap((n) => n.curves.map((p) => p.step)));
  const most = Math.max(...known.flatMap((n) => n.curves.map((p) => p.loss)));
  const x = (step) => left + (step / steps) * (width - left - right);
  const y = (loss) => top + (1 - loss / most) * (height - top - bottom);
  const ends = (n) => ({ title: n.title, first: n.curves[0].loss.toFixed(2), last: n.curves.at(-1).loss.toFixed(2), steps: n.curves.at(-1).step });
  const label = known.map((n) => fill(t.learningLine, ends(n))).join(" ");
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "scores-learning" });
  for (let i = 0; i <= 4; i++) {
    const loss = (i * most) / 4;
    svg.append(draw("line", { x1: left, x2: width - right, y1: y(loss), y2: y(loss), class: "scores-grid" }));
    svg.append(draw("text", { x: left - 6, y: y(loss) + 4, "text-anchor": "end" }, loss.toFixed(2)));
    svg.append(draw("text", { x: x((i * steps) / 4), y: height - bottom + 18, "text-anchor": "middle" }, String(Math.round((i * steps) / 4))));
  }
  svg.append(draw("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, t.learningAxis));
  for (const n of known) {
    const i = group.networks.indexOf(n);
    const points = n.curves.map((p) => `${x(p.step).toFixed(1)},${y(p.loss).toFixed(1)}`).join(" ");
    svg.append(draw("polyline", { points, class: "scores-line", "stroke-dasharray": LINES[i % 8], style: { "--c": `var(--line-${i % 8})` } }));
  }
  const rows = known.map((n) => {
    const { first, last, steps } = ends(n);
    const scored = n.curves.filter((p) => p.miou != null).at(-1);
    const texts = [String(steps), first, last, scored ? scored.miou.toFixed(3) : DASH];
    return make("tr", {}, make("th", { scope: "row" }, key(n, group.networks.indexOf(n)), " " + n.title), ...texts.map((text) => make("td", {}, text)));
  });
  const heads = [t.network, t.learningSteps, t.learningFirst, t.learningLast, t.learningMiou].map((text) => make("th", { scope: "col" }, text));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
  return section(t.learning, note(t.learningNote), svg, scrolling(t.learning, table));
}

function confusions(group, networks, view, again) {
  const t = words();
  const measured = networks.filter((n) => n.confusion);
  if (!measured.length) return null;
  const chosen = measured.find((n) => n.name === view.matrix) || measured[0];
  const options = measured.map((n) => {
    const option = make("option", { value: n.name }, n.title);
    option.selected = n === chosen;
    return option;
  });
  const select = make("select", { "data-focus": "matrix", onchange: () => again(() => (view.matrix = select.value)) }, ...options);
  const readout = make("p", { class: "scores-readout", "aria-live": "polite" }, t.confusionHint);
  const told = (row, column) => {
    const [truth, said] = [group.classes[row], group.classes[column]];
    const share = chosen.confusion[row]?.[column];
    if (share == null) return fill(t.never, { truth });
    return fill(row === column ? t.confusionRight : t.confusionCell, { truth, said, share: percentExactly(share) });
  };
  const ids = [...group.classes.keys()].filter((id) => view.classes.has(id));
  const grid = ids.map((row) =>
    ids.map((column) => {
      const share = chosen.confusion[row]?.[column];
      const shown = share == null ? DASH : share >= 0.005 ? (100 * share).toFixed(0) : "";
      const cell = make("td", { tabindex: -1, "aria-label": told(row, column) }, shown);
      if (share != null) heat(cell, Math.sqrt(share)); // so that small confusions are seen beside the diagonal
      if (row === column) cell.classList.add("scores-diagonal");
      return cell;
    }),
  );
  let [down, across] = view.at.map((place) => Math.min(place, ids.length - 1));
  grid[down][across].tabIndex = 0;
  const place = (cell) => [grid.findIndex((row) => row.includes(cell)), cell.cellIndex - 1];
  const point = (event) => {
    const cell = event.target.closest("td");
    if (!cell) return;
    const [r, c] = place(cell);
    readout.textContent = told(ids[r], ids[c]);
    for (const marked of table.querySelectorAll(".scores-marked")) marked.classList.remove("scores-marked");
    table.tBodies[0].rows[r].cells[0].classList.add("scores-marked");
    table.tHead.rows[0].cells[c + 1].classList.add("scores-marked");
  };
  const focused = (event) => {
    const cell = event.target.closest("td");
    if (!cell) return;
    grid[down][across].tabIndex = -1;
    [down, across] = view.at = place(cell);
    cell.tabIndex = 0;
    point(event);
  };
  const moved = (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    grid[down + step[0]]?.[across + step[1]]?.focus();
  };
  const leave = () => {
    readout.textContent = t.confusionHint;
    for (const marked of table.querySelectorAll(".scores-marked")) marked.classList.remove("scores-marked");
  };
  const heads = ids.map((id) => make("th", { scope: "col", class: "scores-upright" }, make("span", {}, group.classes[id])));
  const rows = grid.map((cells, i) => make("tr", {}, make("th", { scope: "row" }, group.classes[ids[i]]), ...cells));
  const table = make(
    "table",
    { class: "scores-matrix", role: "grid", "aria-label": `${t.confusionOf} ${chosen.title}`, onpointerover: point, onpointerdown: point, onpointerleave: leave, onfocusin: focused, onfocusout: leave, onkeydown: moved },
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, t.is), ...heads)),
    make("tbody", {}, ...rows),
  );
  const said = make("ul", { class: "scores-mistakes" }, ...chosen.mistakes.map((text) => make("li", {}, text)));
  const choice = make("label", { class: "scores-choice" }, t.confusionOf, " ", select);
  return section(t.confusion, choice, said, note(t.confusionNote), readout, make("div", { class: "scores-scroll" }, table));
}

const percentExactly = (share) => (share > 0 && share < 0.01 ? (100 * share).toFixed(1) + " %" : percent(share));

// --- in words ---------------------------------------------------------------------------------------------------------

const LONG = 160; // characters: a card may tell an encoder's whole past

function inWords(group, networks, view) {
  const t = words();
  const told = (n, name, text) =>
    text.length > LONG ? folding(view, `${n.name} ${name}`, text.split(", ")[0].slice(0, LONG) + ", …", text) : text;
  const cards = networks.map((n) => {
    const said = make("p", {}, n.sentences.join(value.lang === "zh" ? "" : " "));
    const terms = n.facts.flatMap(([name, text]) => [make("dt", {}, name), make("dd", { lang: "en" }, told(n, name, text))]);
    const parts = [make("h4", {}, key(n, group.networks.indexOf(n)), n.title), said];
    if (n.failures.length) {
      const list = make("ul", { lang: "en" }, ...n.failures.map((text) => make("li", {}, text)));
      parts.push(make("p", { class: "scores-small" }, t.failures), list);
    }
    return make("article", { "data-network": n.name }, ...parts, make("dl", {}, ...terms));
  });
  return section(t.words, make("div", { class: "scores-cards" }, ...cards));
}

// --- life -------------------------------------------------------------------------------------------------------------

function build(group, several) {
  const t = words();
  const view = viewOf(group);
  const holder = make("div", { class: "scores-group", "data-group": group.name });
  const again = (change) => {
    change();
    refresh();
  };
  const refresh = () => {
    const focus = holder.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    const networks = shownNetworks(group, view);
    const chosen = networks.length && view.classes.size;
    const parts = [
      several && make("h2", {}, fill(t.classes, { count: group.classes.length, name: group.name })),
      filters(group, view, again),
      chosen ? null : note(t.nothing),
      networks.length && bars(group, networks),
      networks.length && figures(group, networks, view, again),
      chosen && classTable(group, networks, view, again),
      networks.length && bands(group, networks, view),
      networks.length && learning(group, networks, view),
      chosen && confusions(group, networks, view, again),
      networks.length && inWords(group, networks, view),
    ];
    holder.replaceChildren(...parts.filter(Boolean));
    if (focus) [...holder.querySelectorAll("[data-focus]")].find((node) => node.dataset.focus === focus)?.focus();
  };
  refresh();
  return holder;
}

function show() {
  if (!props.value || !props.value.groups) return;
  value = props.value;
  root.lang = value.lang === "zh" ? "zh-CN" : "en";
  root.replaceChildren(...value.groups.map((group) => build(group, value.groups.length > 1)));
  root.dataset.shown = value.lang; // tests and screenshots wait for this
}

watch("value", show);
show();
