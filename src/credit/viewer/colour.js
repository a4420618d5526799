// Value -> class and strength. Two-sided: blue above zero, orange and underlined below. One-sided: violet, from zero down.

function toneOf(value, quantity, flags) {
  if (!(flags & bits.own)) return ["tool", 0];
  if (Number.isNaN(value)) return ["gap", 0];
  const strength = Math.min(1, Math.abs(value) / quantity.limit);
  if (!quantity.sides) return ["one", strength];
  return [value >= 0 ? "up" : "down", strength];
}

function drawLegend(target, quantity, response) {
  const limit = quantity.limit;
  const digits = limit < 0.1 ? 3 : limit < 1 ? 2 : 1;
  const ends = quantity.sides ? [-limit, -limit / 2, 0, limit / 2, limit] : [-limit, -limit / 2, 0];
  const ramp = element("div", { class: `ramp ${quantity.sides ? "two" : "one"}` }, element("i"),
    element("div", {}, ...ends.map((end) => element("span", {}, show(end, digits)))));
  const swatch = (kind, said) => {
    const box = element("span", { class: `swatch ${kind}` });
    box.style.setProperty("--s", 0.6);
    return element("span", {}, box, said);
  };
  const parts = [ramp, element("span", { class: "soft" }, "nats")];
  if (quantity.sides) parts.push(swatch("up", "above 0"), swatch("down", "below 0, underlined"));
  parts.push(swatch("gap", "no value"));
  if (response && response.own < response.T) parts.push(swatch("tool", "what a tool answered"));
  if (page.marked) parts.push(element("span", {}, element("span", { class: "marked" }, element("span", { class: "bearing" }, "carries the answer")), " · ",
    element("span", { class: "marked" }, element("span", { class: "error" }, "first wrong token")), ", where the task can tell"));
  target.replaceChildren(...parts);
}
