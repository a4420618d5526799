// The page's data: texts and sums at once, the numbers of a response when it is opened.

const page = JSON.parse(document.getElementById("data").textContent);
const bits = page.bits;
const opened = new Map();

// Bytes of a response -> typed arrays, in the order `packing.py` writes them. Float32 as in the file: nothing is rounded.
async function numbersOf(response) {
  if (opened.has(response)) return opened.get(response);
  const packed = Uint8Array.from(atob(response.data), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const { T, C, A } = response;
  let at = 0;
  const take = (Kind, length) => {
    const part = new Kind(buffer, at, length);
    at += part.byteLength;
    return part;
  };
  const rows = (Kind, count, length) => Array.from({ length: count }, () => take(Kind, length));
  const numbers = { columns: {}, contrast: null, alternatives: {} };
  page.columns.forEach((name) => (numbers.columns[name] = take(Float32Array, T)));
  numbers.contrast = rows(Float32Array, C, T);
  page.alternatives.forEach((name) => (numbers.alternatives[name] = take(Float32Array, T * A)));
  numbers.texts = take(Uint32Array, T);
  numbers.ids = take(Uint32Array, T);
  numbers.alternativeTexts = take(Uint32Array, T * A);
  numbers.flags = take(Uint8Array, T);
  if (opened.size > 64) opened.delete(opened.keys().next().value);
  opened.set(response, numbers);
  return numbers;
}

function valueAt(numbers, key, t) {
  if (key === "advantage") return numbers.columns.R[t] - numbers.columns.baseline[t];
  return numbers.columns[key][t];
}

// What does not exist is a dash, never a zero; a number that rounds to zero but is none is told apart.
function show(value, digits = 4, told = true) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const small = told && value !== 0 && Math.abs(value) < 0.5 * 10 ** -digits;
  return (small ? value.toExponential(1) : value.toFixed(digits)).replaceAll("-", "−");
}

const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)}%`);

// Texts are only ever set as text: nothing a model wrote becomes an element.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== null && value !== false && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const $ = (id) => document.getElementById(id);
