// The page at /: the user gives an image and sees the service's prediction.

import { showAnswer, showExplanation } from "./answer.js";
import * as drawing from "./drawing.js";
import { during, hideErrors, loadModel, onRetry, showError } from "./frame.js";
import { call } from "./service.js";

const $ = (id) => document.getElementById(id);
const BARS = 10; // classes in a prediction, at most
const PAUSE = 300; // ms before an explanation, which costs a hundred predictions: another stroke may follow

let model; // the response of v1/model
let image = null; // the last Blob sent
let pending = new AbortController(); // for the last image; a newer one aborts its requests

// Prediction

async function predict(blob) {
  image = blob;
  pending.abort();
  pending = new AbortController();
  const { signal } = pending;
  $("clear").disabled = false;
  $("spoken").textContent = ""; // the last answer is not that of this image
  try {
    await during(classify(signal), $("result"), signal);
    await during(explain(signal), $("explained"), signal);
  } catch (error) {
    showError(error);
  }
}

async function explain(signal) {
  await new Promise((done) => setTimeout(done, PAUSE));
  await showExplanation(await call("v1/explain", image, signal), signal);
  $("explained").hidden = false;
}

async function classify(signal) {
  const started = performance.now();
  const answer = await call(`v1/predict?top_k=${BARS}`, image, signal);
  const trip = performance.now() - started;
  if (answer.model.version !== model?.version) await load(); // another model was loaded meanwhile
  signal.throwIfAborted();
  hideErrors();
  $("result").hidden = false;
  showAnswer(answer, model, trip);
}

// The model

async function load() {
  model = await loadModel("image", ({ shape: [height, width, channels] }) => `${width} × ${height}, ${channels === 1 ? "grey" : "colour"}`);
  const [height, width, channels] = model.shape;
  $("pad").style.aspectRatio = `${width} / ${height}`;
  if (channels === 1 && $("ink").hidden) offerDrawing(height, width);
}

function offerDrawing(height, width) {
  drawing.start(height, width, beginStroke, predict);
  $("pad").classList.add("drawn");
  $("hint").textContent = "Draw here";
  $("ways").textContent = "Draw with mouse, touch or pen. Or drop an image anywhere on this page, or paste one with Ctrl+V.";
}

// Input

// A stroke continues on the image that is shown.
function beginStroke() {
  $("hint").textContent = "";
  if ($("given").hidden) return;
  drawing.put($("given"));
  $("given").hidden = true;
}

function take(file) {
  if (!file) return;
  drawing.blacken();
  URL.revokeObjectURL($("given").src);
  $("given").src = URL.createObjectURL(file);
  $("given").hidden = false;
  $("hint").textContent = "";
  predict(file);
}

function clear() {
  if (document.activeElement === $("clear")) $("file").focus(); // a disabled button would lose the focus
  pending.abort();
  image = null;
  URL.revokeObjectURL($("given").src);
  $("given").hidden = true;
  $("given").removeAttribute("src");
  $("file").value = "";
  $("clear").disabled = true;
  $("result").hidden = $("explained").hidden = true;
  $("spoken").textContent = "";
  $("hint").textContent = $("ink").hidden ? "Drop an image here" : "Draw here";
  hideErrors();
  drawing.blacken();
}

$("file").addEventListener("change", (event) => take(event.target.files[0]));
$("clear").addEventListener("click", clear);
$("given").addEventListener("error", () => {
  $("given").hidden = true; // a format that this browser cannot show, but perhaps the service can read
  $("hint").textContent = image?.name ?? "";
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
onRetry(() => (image ? predict(image) : load().catch(showError)));

load().catch(showError);
