// What stands beside the tokens: all numbers of one, the texts its teacher and its negatives read, the overview.

function table(caption, head, rows) {
  const cells = (row, name) => row.map((cell, i) => (cell instanceof Node ? cell : element(name, i ? { class: "n" } : {}, String(cell))));
  return element("div", { class: "scroll" }, element("table", {}, caption ? element("caption", {}, caption) : null,
    element("thead", {}, element("tr", {}, ...cells(head, "th"))),
    element("tbody", {}, ...rows.map((row) => element("tr", row.attributes || {}, ...cells(row, "td"))))));
}

function showToken(drawn, t) {
  const target = $("detail");
  if (!drawn) {
    target.replaceChildren(element("p", { class: "soft" }, "Point at a token, tap it, or press →: all its numbers, and what else could have stood there."));
    return;
  }
  const { response, numbers } = drawn;
  const flags = numbers.flags[t];
  const said = [];
  if (!(flags & bits.own)) said.push("What a tool answered: not the model's own, it earns nothing.");
  if (flags & bits.bearing) said.push("Carries the answer.");
  if (flags & bits.boilerplate && !(flags & bits.bearing)) said.push("Boilerplate of its family.");
  if (flags & bits.error) said.push("The first wrong token.");
  const exact = (value) => element("td", { class: "n", title: Number.isNaN(value) ? "no value" : String(value) }, show(value));
  const rows = page.quantities.map((q) => [q.label, exact(valueAt(numbers, q.key, t))]);
  rows.push(["baseline E R", exact(numbers.columns.baseline[t])]);
  numbers.contrast.forEach((column, c) => rows.push([`log p_T under x'${numbers.contrast.length > 1 ? ` ${c + 1}` : ""}`, exact(column[t])]));
  const release = element("button", { class: "release", "aria-label": "Let go of the token" }, "×");
  release.addEventListener("click", () => (letGo(), showToken(null)));
  target.replaceChildren(
    release,
    element("h2", {}, element("code", { dir: "auto" }, page.words[numbers.texts[t]])),
    element("p", { class: "soft" }, `token ${t + 1} of ${response.T}${numbers.ids[t] === bits.none ? "" : `, id ${numbers.ids[t]}`}. ${said.join(" ")}`),
    table(null, ["quantity", "nats"], rows),
    alternatives(response, numbers, t));
}

function alternatives(response, numbers, t) {
  const rows = [];
  for (let a = 0; a < response.A; a++) {
    const at = t * response.A + a, word = numbers.alternativeTexts[at];
    if (word === bits.none) continue;
    const cell = (name) => {
      const value = numbers.alternatives[name][at];
      return element("td", { class: "n", title: Number.isNaN(value) ? "no value" : String(value) }, show(value, 2, false));
    };
    const row = [element("th", { scope: "row" }, element("code", { dir: "auto" }, page.words[word])), ...page.alternatives.map(cell)];
    if (word === numbers.texts[t]) row.attributes = { class: "here" };
    rows.push(row);
  }
  if (!rows.length) return element("p", { class: "soft" }, response.A ? "Nothing else was scored here." : "Alternatives were not recorded (credit_log_alternatives).");
  return table("Likeliest of student and target at this place (this token in bold)", ["token", "log p", "log p_T", "G", "R"], rows);
}

function paragraphs(place) {
  return element("div", { class: "text" }, ...page.texts[place].map(([role, content]) =>
    element("div", { dir: "auto" }, role ? element("bdi", { class: "role" }, `${role}: `) : null, content)));
}

function showContext(r) {
  const block = (title, ...children) => element("div", {}, element("h3", {}, title), ...children);
  const none = (said) => element("p", { class: "soft" }, said);
  const negatives = r.negatives.length ? r.negatives.map(paragraphs) : [none("No unrelated input was scored.")];
  const teacher = [];
  if (r.solution !== null) teacher.push(element("p", { class: "soft" }, "a right answer to the same prompt:"), paragraphs(r.solution));
  if (r.feedback !== null) teacher.push(element("p", { class: "soft" }, "feedback on this response:"), paragraphs(r.feedback));
  if (!teacher.length) teacher.push(none("Neither a solution nor feedback: this response has no teacher."));
  if (r.teacher !== null) teacher.push(element("details", {}, element("summary", {}, "all the teacher read, as its tokens spell it"), paragraphs(r.teacher)));
  $("context").replaceChildren(block("Prompt x", paragraphs(r.prompt)), block("What the teacher saw besides: z", ...teacher),
    block(`Contrasted with: x'${r.negatives.length > 1 ? ` (${r.negatives.length})` : ""}, the same response and z`, ...negatives));
}

const estimate = (value, digits = 3) => {
  if (!value || value.mean === null) return "–";
  return value.low === null ? show(value.mean, digits) : `${show(value.mean, digits)} [${show(value.low, digits)}, ${show(value.high, digits)}]`;
};

function drawOverview() {
  const all = page.steps[page.steps.length - 1], list = (items) => element("ul", {}, ...items.map((item) => element("li", {}, item)));
  const section = (title, attributes, ...children) => element("section", attributes, element("h2", {}, title), ...children);
  const cut = (words) => words.map((w) => [
    element("th", { scope: "row" }, element("button", { class: "link", "data-word": w.text }, element("code", { dir: "auto" }, w.text))),
    w.count, show(w.S, 2), show(w.size, 2), show(w.G, 2), percent(w.share)]);
  const head = ["token", "times", "mean S", "mean |S|", "mean G", "of all |R|"];
  const counts = all.counts, measured = counts.measured || 0;
  const parts = [];
  if (page.notes.length || page.problems.length) parts.push(section("Read this first", { class: "whole" }, list([...page.notes, ...page.problems.slice(0, 12),
    ...(page.problems.length > 12 ? [`${page.problems.length - 12} more like these.`] : [])])));
  parts.push(section("Most specific tokens", {}, element("p", { class: "soft" }, "Largest mean |S|: the input decides them."), table(null, head, cut(page.tables.specific))));
  parts.push(section("Most generic tokens", {}, element("p", { class: "soft" }, "Mean |S| at most log 2: likely, or unlikely, whatever the input. Most frequent first."), table(null, head, cut(page.tables.generic))));
  const per = ["pmi", "S_per_token", "G_per_token", "R_per_token", "credit_on_generic_tokens", "auroc_answer_S", "auroc_boilerplate_S"];
  const names = [...page.files, "all"];
  if (page.steps.length > 2) parts.push(section("Step by step", { class: "whole" }, table("means over the prompts of the responses in these files, with 95% bootstrap intervals; metrics.jsonl has the whole batches",
    ["file", "responses", ...per.map((name) => name.replaceAll("_", " "))],
    page.steps.map((s, i) => [names[i], s.counts.responses, ...per.map((name) => estimate(s.summary[name], 2))]))));
  parts.push(section("All measures", { class: "whole" }, table(`${counts.responses} responses, ${measured} with credit, ${counts.tokens || 0} tokens of their own`, ["measure", "mean [95%]", "meaning"],
    Object.entries(all.summary).map(([name, value]) => [name.replaceAll("_", " "), estimate(value), element("td", {}, page.meaning[name])]))));
  $("overview").replaceChildren(element("div", {}, ...parts));
  document.querySelectorAll("#overview .scroll").forEach((wide) => (wide.tabIndex = 0)); // or no key could scroll them
}
