// Wires it together: what is open, what colours, keys, and the address that leads back here.

let quantity = page.quantities[0];
let comparing = false;
let turn = 0; // of drawing, so that a slow response does not overwrite a later one

function fact(label, value) {
  return element("div", {}, element("span", {}, `${label} `), value);
}

function headOf(r) {
  const facts = [
    fact("score", r.score === null ? "–" : show(r.score, 2)), fact("pMI", show(r.pmi, 3)), fact("sum of S", show(r.S, 3)), fact("sum of G", show(r.G, 3)),
    fact("sum of R", show(r.R, 3)), fact("credit on generic tokens", percent(r.generic)), fact("tokens", r.own === r.T ? r.T : `${r.own} own of ${r.T}`),
  ];
  const where = `${labelOf(r)}${r.family ? ` · ${r.family}` : ""} · row ${r.place} of ${page.files[r.file]}${r.again ? " · scored again" : ""}`;
  return element("div", {}, element("h2", {}, where), element("div", { class: "facts" }, ...facts), r.why ? element("p", { class: "soft" }, r.why) : null);
}

async function open(place) {
  const mine = ++turn;
  current = place;
  $("main").setAttribute("aria-busy", "true");
  letGo();
  showToken(null);
  reveal();
  remember();
  if (place === null) {
    $("head").replaceChildren(element("p", {}, "No response matches. Loosen the filters."));
    $("shown").replaceChildren();
    $("context").replaceChildren();
    $("main").removeAttribute("aria-busy");
    return;
  }
  const r = page.responses[place];
  const same = page.responses.map((_, i) => i).filter((i) => page.responses[i].prompt === r.prompt);
  const button = element("button", { id: "compare", "aria-pressed": String(comparing), disabled: same.length < 2 },
    same.length < 2 ? "No other response to this prompt" : `${same.length} responses to this prompt `, same.length < 2 ? null : element("kbd", {}, "c"));
  button.addEventListener("click", toggleCompare);
  $("head").replaceChildren(headOf(r), button);
  drawLegend($("legend"), quantity, r);
  showContext(r);
  const wanted = comparing && same.length > 1 ? same.sort((a, b) => (page.responses[a].step ?? 0) - (page.responses[b].step ?? 0) || a - b) : [place];
  const parts = [];
  for (const i of wanted) {
    const other = page.responses[i], drawn = await drawTokens(other, quantity);
    if (mine !== turn) return;
    const body = other.T ? drawn.box : element("p", { class: "soft" }, textOf(other.completion) ? `Tokens were not recorded: ${textOf(other.completion)}` : "The response is empty.");
    parts.push(wanted.length > 1 ? element("div", { class: "alone" }, headOf(other), body) : body);
  }
  $("shown").replaceChildren(...parts);
  $("main").removeAttribute("aria-busy");
}

function choose(key) {
  const found = page.quantities.find((q) => q.key === key);
  if (!found) return;
  quantity = found;
  $("choices").querySelectorAll("input").forEach((input) => (input.checked = input.value === key));
  $("meaning").textContent = quantity.meaning;
  if (current !== null) drawLegend($("legend"), quantity, page.responses[current]);
  document.querySelectorAll(".tokens").forEach((box) => colourTokens(box.drawn, quantity));
  remember();
}

function toggleCompare() {
  comparing = !comparing;
  open(current);
}

function toggleOverview(on = $("overview").hidden) {
  $("overview").hidden = !on;
  $("responses").hidden = on;
  $("show-overview").setAttribute("aria-pressed", String(on));
  $("show-responses").setAttribute("aria-pressed", String(!on));
  $("main").scrollTop = 0;
}

function remember() {
  history.replaceState(null, "", `#${current === null ? "" : current + 1}/${quantity.key}`);
}

const KEYS = {
  j: () => step(1), k: () => step(-1), c: () => $("compare")?.click(), o: () => toggleOverview(), "?": () => $("keys").showModal(), "/": () => $("search").focus(),
  ArrowRight: () => moveToken(1, quantity), ArrowLeft: () => moveToken(-1, quantity), n: () => moveToken(1, quantity, true), p: () => moveToken(-1, quantity, true),
  Home: () => { const drawn = heldToken || document.querySelector(".tokens")?.drawn; if (drawn?.response.T) hold(drawn, 0); },
  End: () => { const drawn = heldToken || document.querySelector(".tokens")?.drawn; if (drawn?.response.T) hold(drawn, drawn.response.T - 1); },
  Escape: () => { letGo(); showToken(null); },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  const at = event.target instanceof Element ? event.target : document.body;
  if (at.matches("input[type=search], select")) return event.key === "Escape" && at.blur();
  if (at.matches("#choices input") && event.key.startsWith("Arrow")) return; // the choice moves, not the token
  if (at === $("list") && ["ArrowDown", "ArrowUp"].includes(event.key)) return event.preventDefault(), step(event.key === "ArrowDown" ? 1 : -1);
  const act = KEYS[event.key] || (/^[1-9]$/.test(event.key) && page.quantities[event.key - 1] && (() => choose(page.quantities[event.key - 1].key)));
  if (!act) return;
  event.preventDefault();
  act();
});

function start() {
  if (typeof DecompressionStream === "undefined") throw new Error("This browser is too old for this page: it cannot unpack numbers (DecompressionStream).");
  page.quantities.forEach((q, i) => {
    const input = element("input", { type: "radio", name: "quantity", value: q.key });
    input.addEventListener("change", () => choose(q.key));
    $("choices").append(element("label", { title: q.meaning }, input, `${q.label} `, element("kbd", {}, String(i + 1))));
  });
  $("show-overview").addEventListener("click", () => toggleOverview(true));
  $("show-responses").addEventListener("click", () => toggleOverview(false));
  $("show-keys").addEventListener("click", () => $("keys").showModal());
  $("overview").addEventListener("click", (event) => {
    const word = event.target.closest("[data-word]");
    if (!word) return;
    $("search").value = word.dataset.word;
    toggleOverview(false);
    applyFilters();
  });
  if (matchMedia("(max-width: 760px)").matches) $("filters").open = false;
  drawOverview();
  fillFilters();
  const [place, key] = location.hash.slice(1).split("/");
  const asked = Number(place) - 1;
  if (page.responses[asked]) current = asked;
  if (page.responses[asked]?.again) $("kind").value = "all"; // or the filter would close it
  choose(key && page.quantities.some((q) => q.key === key) ? key : page.quantities[0].key);
  applyFilters();
  if (current !== null) open(current);
}

try {
  start();
} catch (error) {
  $("failure").hidden = false;
  $("failure").textContent = error.message;
  throw error;
}
