// Shows a response of v1/explain: the text, with its tokens coloured by the evidence that they are.

const $ = (id) => document.getElementById(id);
const MOST = 60; // percent of the colour of the strongest token: the text must remain readable
const NAMED = 3; // maximum number of tokens in the sentence below
const NOTABLE = 0.25; // of the strongest value, from which a token is named, and underlined if it opposes

export function showTokens({ label, cut, parts }) {
  const strongest = Math.max(...parts.map(({ value }) => Math.abs(value ?? 0))) || 1;
  $("tokens").replaceChildren(...parts.map((part) => piece(part, strongest)));
  $("target").textContent = label;
  const supporting = named(parts, strongest, 1);
  const opposing = named(parts, strongest, -1);
  $("important").textContent = [
    supporting && `Most evidence for ${label}: ${supporting}.`,
    opposing && `Most evidence against it: ${opposing}.`,
    cut && "The model read only the beginning of the text.",
  ]
    .filter(Boolean)
    .join(" ");
}

// A text node, or an element that is coloured by `value`. The text is never read as markup.
function piece({ text, value }, strongest) {
  if (value === null) return document.createTextNode(text);
  const span = document.createElement("span");
  span.textContent = text;
  span.className = value > 0 ? "supports" : value < 0 ? "opposes" : "";
  span.classList.toggle("strong", Math.abs(value) >= NOTABLE * strongest);
  span.title = value.toFixed(2);
  span.style.setProperty("--strength", `${(MOST * Math.abs(value)) / strongest}%`);
  return span;
}

// The strongest tokens in quotes, each isolated from the direction of the sentence.
function named(parts, strongest, sign) {
  const found = parts.filter(({ value }) => sign * value >= NOTABLE * strongest).sort((one, other) => sign * (other.value - one.value));
  return [...new Set(found.map(({ text }) => `“\u2068${text.trim()}\u2069”`))].slice(0, NAMED).join(", ");
}
