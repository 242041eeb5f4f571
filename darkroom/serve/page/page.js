// The page at /: a picture is given, the service asked, and its answer shown.

import { showAnswer, showExplanation } from "./answer.js";
import * as drawing from "./drawing.js";
import { call, Failure, hasKey, setKey } from "./service.js";

const $ = (id) => document.getElementById(id);
const BARS = 10; // classes of an answer that are shown, at most
const NAMED = 20; // classes named where there is no answer yet, at most
const PAUSE = 300; // ms before an explanation is asked for, which costs a hundred times an answer: another stroke may follow

let model; // what v1/model says
let picture = null; // the Blob that was asked about last
let asking = new AbortController(); // of the last picture; a newer one aborts it

// A picture, and its answer

async function ask(blob) {
  picture = blob;
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  $("clear").disabled = false;
  try {
    await during(classify(signal), $("result"), signal);
    await during(explain(signal), $("explained"), signal);
  } catch (error) {
    complain(error);
  }
}

// Awaits an answer, with the part of the page that shows the last one greyed out; what fails leaves none.
async function during(answer, part, signal) {
  part.classList.add("waiting");
  try {
    await answer;
  } catch (error) {
    part.hidden ||= !signal.aborted;
    throw error;
  } finally {
    if (!signal.aborted) part.classList.remove("waiting");
  }
}

async function explain(signal) {
  await new Promise((done) => setTimeout(done, PAUSE));
  await showExplanation(await call("v1/explain", picture, signal));
  $("explained").hidden = false;
}

async function classify(signal) {
  const started = performance.now();
  const answer = await call(`v1/predict?top_k=${BARS}`, picture, signal);
  const trip = performance.now() - started;
  if (answer.model.version !== model?.version) await meet(); // another was loaded meanwhile
  calm();
  $("result").hidden = false;
  showAnswer(answer, model, trip);
}

function complain(error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Failure)) throw error;
  const locked = error.status === 401;
  calm();
  $(locked ? "access" : "alert").hidden = false;
  if (locked) {
    if (hasKey()) $("key-note").textContent = "The service does not know this key.";
    $("key").focus();
  }
  $("problem").textContent = error.message;
  $("again").hidden = ![0, 408, 429, 503, 504].includes(error.status);
  $("alert").scrollIntoView({ block: "nearest" });
}

function calm() {
  $("alert").hidden = $("access").hidden = true;
}

// The model

async function meet() {
  model = await call("v1/model");
  const { title, classes, metrics, licence, version } = model;
  const [height, width, channels] = model.shape;
  $("title").textContent = title;
  document.title = `${title} · Darkroom`;
  $("facts").textContent = accuracy(metrics);
  $("known").textContent = `It knows ${classes.length} classes: ${classes.slice(0, NAMED).join(", ")}${classes.length > NAMED ? " …" : "."}`;
  const input = `${width} × ${height}, ${channels === 1 ? "grey" : "colour"}`;
  const about = Object.entries({ Model: model.model, Version: version, Data: title, Licence: licence, Input: input });
  $("about").replaceChildren(...about.map(([term, text]) => fact(term, text)));
  $("pad").style.aspectRatio = `${width} / ${height}`;
  if (channels === 1 && $("ink").hidden) offerDrawing(height, width);
}

function accuracy({ accuracy, accuracy_low: low, accuracy_high: high, samples }) {
  if (accuracy === undefined) return "";
  const interval = low === undefined ? "" : ` (95\u00a0% interval ${(100 * low).toFixed(2)} to ${(100 * high).toFixed(2)}\u00a0%)`;
  return `${(100 * accuracy).toFixed(2)}\u00a0% of ${samples?.toLocaleString("en") ?? "the"} test pictures right${interval}`;
}

function fact(term, text) {
  const pair = document.createElement("div");
  pair.append(Object.assign(document.createElement("dt"), { textContent: term }), Object.assign(document.createElement("dd"), { textContent: text }));
  return pair;
}

function offerDrawing(height, width) {
  drawing.start(height, width, () => ($("hint").textContent = ""), ask);
  $("pad").classList.add("drawn");
  $("hint").textContent = "Draw here";
  $("ways").textContent = "Draw with mouse, touch or pen. Or drop a picture anywhere on this page, or paste one with Ctrl+V.";
}

// Ways to give a picture

function take(file) {
  if (!file) return;
  drawing.blacken();
  URL.revokeObjectURL($("given").src);
  $("given").src = URL.createObjectURL(file);
  $("given").hidden = false;
  $("hint").textContent = "";
  ask(file);
}

function clear() {
  if (document.activeElement === $("clear")) $("file").focus(); // which a disabled button would lose
  asking.abort();
  picture = null;
  URL.revokeObjectURL($("given").src);
  $("given").hidden = true;
  $("given").removeAttribute("src");
  $("file").value = "";
  $("clear").disabled = true;
  $("result").hidden = $("explained").hidden = true;
  $("spoken").textContent = "";
  $("hint").textContent = $("ink").hidden ? "Drop a picture here" : "Draw here";
  calm();
  drawing.blacken();
}

$("file").addEventListener("change", (event) => take(event.target.files[0]));
$("clear").addEventListener("click", clear);
$("given").addEventListener("error", () => {
  $("given").hidden = true; // of a kind that this browser cannot show; the service may read it
  $("hint").textContent = picture?.name ?? "";
});
document.addEventListener("paste", (event) => take([...event.clipboardData.files].find((file) => file.type.startsWith("image/"))));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("pad").classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget ?? $("pad").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("pad").classList.remove("over");
  take(event.dataTransfer.files[0]);
});
$("again").addEventListener("click", retry);
$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey($("key").value);
  retry();
});

function retry() {
  calm();
  picture ? ask(picture) : meet().catch(complain);
}

meet().catch(complain);
