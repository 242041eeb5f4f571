// What the pages share: requests in progress, errors, and the facts about the model.

import { call, Failure, hasKey, setKey } from "./service.js";

const $ = (id) => document.getElementById(id);
const NAMED = 20; // maximum number of classes listed before the first prediction

// Awaits a response while the previous one is greyed out. An error hides it.
export async function during(response, part, signal) {
  part.classList.add("waiting");
  try {
    await response;
  } catch (error) {
    part.hidden ||= !signal.aborted;
    throw error;
  } finally {
    if (!signal.aborted) part.classList.remove("waiting");
  }
}

export function showError(error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Failure)) throw error;
  const locked = error.status === 401;
  hideErrors();
  $(locked ? "access" : "alert").hidden = false;
  if (locked) {
    if (hasKey()) $("key-note").textContent = "The key is wrong.";
    $("key").focus();
  }
  $("problem").textContent = error.message;
  $("again").hidden = ![0, 408, 429, 503, 504].includes(error.status);
  $("alert").scrollIntoView({ block: "nearest" });
}

export function hideErrors() {
  $("alert").hidden = $("access").hidden = true;
}

// Calls `retry` when the user asks to try again, or gives a key.
export function onRetry(retry) {
  const again = () => (hideErrors(), retry());
  $("again").addEventListener("click", again);
  $("access").addEventListener("submit", (event) => {
    event.preventDefault();
    setKey($("key").value);
    again();
  });
}

// Shows and returns the response of v1/model; `input` gives the description of its input, `noun` names an example.
export async function loadModel(noun, input) {
  const model = await describeModel(input);
  const { classes, metrics } = model;
  $("facts").textContent = measured(metrics, "accuracy", "accuracy", `test ${noun}`);
  $("known").textContent = `${classes.length} classes: ${classes.slice(0, NAMED).join(", ")}${classes.length > NAMED ? " …" : "."}`;
  return model;
}

// As loadModel, without what only classifiers have.
export async function describeModel(input) {
  const model = await call("v1/model");
  const { title, licence, version } = model;
  $("title").textContent = title;
  document.title = `${title} · Darkroom`;
  const about = Object.entries({ Model: model.model, Version: version, Data: title, Licence: licence, Input: input(model) });
  $("about").replaceChildren(...about.map(([term, text]) => fact(term, text)));
  return model;
}

// A metric in words, with its interval.
export function measured(metrics, key, name, noun, nouns = `${noun}s`) {
  const { [key]: value, [`${key}_low`]: low, [`${key}_high`]: high, samples } = metrics;
  if (value === undefined) return "";
  const interval = low === undefined ? "" : ` (95\u00a0% confidence interval ${(100 * low).toFixed(2)} to ${(100 * high).toFixed(2)}\u00a0%)`;
  const tested = samples === 1 ? `1 ${noun}` : `${samples?.toLocaleString("en") ?? "the"} ${nouns}`;
  return `${(100 * value).toFixed(2)}\u00a0% ${name} on ${tested}${interval}`;
}

function fact(term, text) {
  const pair = document.createElement("div");
  pair.append(Object.assign(document.createElement("dt"), { textContent: term }), Object.assign(document.createElement("dd"), { textContent: text }));
  return pair;
}
