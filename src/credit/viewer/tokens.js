// Tokens of a response, coloured by a quantity; one of them can be held.

let heldToken = null; // { response, numbers, box, t }

async function drawTokens(response, quantity) {
  const numbers = await numbersOf(response);
  const label = response.T === 1 ? "The only token of the response" : `The ${response.T} tokens of the response`;
  const box = element("div", { class: "tokens", dir: "auto", role: "listbox", tabindex: "0", "aria-label": label });
  const parts = document.createDocumentFragment(), place = page.responses.indexOf(response);
  for (let t = 0; t < response.T; t++) {
    const token = document.createElement("span");
    token.textContent = page.words[numbers.texts[t]];
    token.setAttribute("role", "option");
    token.id = `t${place}-${t}`;
    token.dataset.t = t;
    parts.append(token, response.spaced ? " " : document.createElement("wbr"));
  }
  box.append(parts);
  const spans = box.querySelectorAll("span");
  const drawn = { response, numbers, box, spans };
  box.drawn = drawn;
  colourTokens(drawn, quantity);
  box.addEventListener("pointerover", (event) => {
    if (event.target.dataset.t && !heldToken) showToken(drawn, Number(event.target.dataset.t));
  });
  box.addEventListener("pointerleave", () => heldToken || showToken(null));
  box.addEventListener("click", (event) => {
    if (event.target.dataset.t) hold(drawn, Number(event.target.dataset.t));
  });
  box.addEventListener("focus", () => { // by keyboard; a tap has its own token
    if (!heldToken && response.T && box.matches(":focus-visible")) hold(drawn, 0);
  });
  return drawn;
}

function colourTokens({ response, numbers, spans }, quantity) {
  for (let t = 0; t < response.T; t++) {
    const flags = numbers.flags[t];
    const [tone, strength] = toneOf(valueAt(numbers, quantity.key, t), quantity, flags);
    const marks = (flags & bits.bearing ? " bearing" : "") + (flags & bits.error ? " error" : "");
    const held = heldToken && heldToken.numbers === numbers && heldToken.t === t ? " at" : "";
    spans[t].className = tone + marks + held;
    spans[t].style.setProperty("--s", strength.toFixed(3));
  }
}

function hold(drawn, t) {
  letGo();
  heldToken = { ...drawn, t };
  const span = drawn.spans[t];
  span.classList.add("at");
  span.setAttribute("aria-selected", "true");
  drawn.box.setAttribute("aria-activedescendant", span.id);
  span.scrollIntoView({ block: "nearest" });
  $("detail").classList.add("held");
  showToken(drawn, t);
}

function letGo() {
  if (!heldToken) return;
  const span = heldToken.spans[heldToken.t];
  span.classList.remove("at");
  span.removeAttribute("aria-selected");
  heldToken.box.removeAttribute("aria-activedescendant");
  $("detail").classList.remove("held");
  heldToken = null;
}

// Move by tokens, or to the next one whose size is in the top tenth of its response.
function moveToken(by, quantity, toLarge = false) {
  const drawn = heldToken || document.querySelector(".tokens")?.drawn;
  if (!drawn || !drawn.response.T) return;
  const last = drawn.response.T - 1;
  let t = heldToken ? heldToken.t + by : by > 0 ? 0 : last;
  if (toLarge) {
    const size = (i) => Math.abs(valueAt(drawn.numbers, quantity.key, i)) || 0;
    const sizes = Array.from({ length: last + 1 }, (_, i) => size(i)).sort((a, b) => a - b);
    const bar = sizes[Math.floor(0.9 * last)];
    while (t >= 0 && t <= last && !(size(t) >= bar && size(t) > 0)) t += by;
  }
  if (t < 0 || t > last) return;
  hold(drawn, t);
}
