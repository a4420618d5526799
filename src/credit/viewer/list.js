// The list of responses: filtered, sorted, and drawn only where it is looked at.

const ROW = 58; // height of an item in pixels, as in the style sheet
let listed = []; // places in page.responses
let current = null; // place of the open response

const textOf = (place) => (place === null ? "" : page.texts[place].map(([, content]) => content).join("\n"));
const ascending = (key) => [(r) => r[key], 1];
const descending = (key) => [(r) => r[key], -1];

const SORTS = {
  "file order": null,
  "score, low first": ascending("score"), "score, high first": descending("score"),
  "pMI, low first": ascending("pmi"), "pMI, high first": descending("pmi"),
  "generic share, high first": descending("generic"), "generic share, low first": ascending("generic"),
  "sum of |R|, high first": descending("credit"),
  "length, long first": descending("own"), "length, short first": ascending("own"),
};

const KINDS = {
  "new responses": (r) => !r.again,
  all: () => true,
  "scored again": (r) => r.again,
  successes: (r) => !r.again && r.score !== null && r.score >= 1,
  failures: (r) => !r.again && r.score !== null && r.score < 1,
  "with a teacher": (r) => !r.again && r.pmi !== null,
  "without a teacher": (r) => !r.again && r.pmi === null,
  "shown a solution": (r) => !r.again && r.solution !== null,
  "shown feedback": (r) => !r.again && r.feedback !== null,
};

const labelOf = (r) => (r.step === null || r.step === undefined ? page.files[r.file] : `step ${r.step}`);

function applyFilters() {
  const words = $("search").value.trim().toLowerCase();
  const family = $("family").value, file = $("file").value, kind = KINDS[$("kind").value];
  listed = page.responses.map((_, i) => i).filter((i) => {
    const r = page.responses[i];
    return kind(r) && (!family || r.family === family) && (!file || String(r.file) === file) &&
      (!words || [r.prompt, r.completion, r.solution, r.feedback].some((p) => textOf(p).toLowerCase().includes(words)));
  });
  const order = SORTS[$("sort").value];
  if (order) {
    const [key, direction] = order;
    const missing = (v) => v === null || v === undefined;
    listed.sort((a, b) => {
      const x = key(page.responses[a]), y = key(page.responses[b]);
      if (missing(x) || missing(y)) return missing(x) - missing(y) || a - b; // what has no value comes last
      return direction * (x - y) || a - b;
    });
  }
  const total = page.responses.filter((r) => !r.again).length;
  $("count").textContent = listed.length === total && kind === KINDS["new responses"] ? `${total} responses` : `${listed.length} of ${total} responses`;
  $("list").scrollTop = 0;
  drawList();
  if (!listed.includes(current)) open(listed.length ? listed[0] : null);
  else reveal();
}

function drawList() {
  const list = $("list"), rows = $("rows");
  rows.style.height = `${listed.length * ROW}px`;
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
  const last = Math.min(listed.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 4);
  rows.replaceChildren(...listed.slice(first, last).map((i, offset) => {
    const r = page.responses[i], good = r.score !== null && r.score >= 1;
    const item = element("div", { class: "item", role: "option", id: `r${i}`, "data-r": i, "aria-selected": String(i === current),
      "aria-posinset": first + offset + 1, "aria-setsize": listed.length },
      element("div", { class: "line" },
        element("span", {}, element("b", { class: good ? "good" : "bad" }, r.score === null ? "no score" : `${good ? "✓" : "✗"} ${show(r.score, 2)}`),
          ` · ${labelOf(r)}${r.family ? ` · ${r.family}` : ""}`),
        element("span", {}, r.pmi === null ? "no pMI" : `pMI ${show(r.pmi, 2)}`)),
      element("div", { class: "say", dir: "auto" }, textOf(r.completion).slice(0, 120) || "(empty)"));
    item.style.top = `${(first + offset) * ROW}px`;
    return item;
  }));
  list.setAttribute("aria-activedescendant", current === null ? "" : `r${current}`);
}

function reveal() {
  const place = listed.indexOf(current), list = $("list");
  if (place >= 0) {
    if (place * ROW < list.scrollTop) list.scrollTop = place * ROW;
    if ((place + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (place + 1) * ROW - list.clientHeight;
  }
  drawList();
}

function step(by) {
  const place = listed.indexOf(current) + by;
  if (place >= 0 && place < listed.length) open(listed[place]);
}

function fillFilters() {
  const fill = (id, entries) => $(id).replaceChildren(...entries.map(([value, text]) => element("option", { value }, text)));
  const families = [...new Set(page.responses.map((r) => r.family).filter((f) => f !== null))].sort();
  fill("sort", Object.keys(SORTS).map((name) => [name, name]));
  fill("kind", Object.keys(KINDS).map((name) => [name, name]));
  fill("family", [["", families.length ? "all" : "none recorded"], ...families.map((f) => [f, f])]);
  fill("file", [["", "all"], ...page.files.map((name, i) => [String(i), labelOf(page.responses.find((r) => r.file === i) || { file: i })])]);
  ["kind", "family", "file"].forEach((id) => $(id).addEventListener("change", applyFilters));
  $("sort").addEventListener("change", () => {
    current = null; // a new order is read from its top
    applyFilters();
  });
  let waiting = null;
  $("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(applyFilters, 120);
  });
  $("list").addEventListener("scroll", drawList, { passive: true });
  $("list").addEventListener("click", (event) => {
    const item = event.target.closest(".item");
    if (item) open(Number(item.dataset.r));
  });
  new ResizeObserver(drawList).observe($("list"));
}
