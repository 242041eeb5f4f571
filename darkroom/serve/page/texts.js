// The page at / of a classifier of texts: the user writes a text, and the page shows the service's prediction.

import { during, hideErrors, loadModel, onRetry, showError } from "./frame.js";
import { showPrediction } from "./prediction.js";
import { call } from "./service.js";
import { showTokens } from "./tokens.js";

const $ = (id) => document.getElementById(id);
const BARS = 10; // classes in a prediction, at most

let model; // the response of v1/model
let text = null; // the last Blob that was sent
let pending = new AbortController(); // for the last text; a newer one aborts its requests

async function predict(blob) {
  text = blob;
  pending.abort();
  pending = new AbortController();
  const { signal } = pending;
  $("clear").disabled = false;
  $("spoken").textContent = ""; // the last answer is not that of this text
  try {
    await during(classify(signal), $("result"), signal);
    await during(explain(signal), $("explained"), signal);
  } catch (error) {
    showError(error);
  }
}

async function classify(signal) {
  const started = performance.now();
  const answer = await call(`v1/predict?top_k=${BARS}&language=${navigator.language}`, text, signal);
  const trip = performance.now() - started;
  if (answer.model.version !== model?.version) await load(); // another model was loaded meanwhile
  signal.throwIfAborted();
  hideErrors();
  $("result").hidden = false;
  showPrediction(answer, model, trip, "text");
  showReply(answer);
  $("count").textContent = answer.tokens.toLocaleString("en") + (answer.cut ? ", then cut" : "");
}

async function explain(signal) {
  showTokens(await call("v1/explain", text, signal));
  $("explained").hidden = false;
}

// Shows the answer for the class, or that a person should give it, and the most similar question.
function showReply({ answer, handover, faq }) {
  $("reply").hidden = !answer;
  $("answer").textContent = answer ?? "";
  $("handover").hidden = !handover;
  $("similar").hidden = !faq;
  if (!faq) return;
  $("question").textContent = faq.question;
  $("faq").textContent = faq.answer;
  $("similarity").textContent = `Cosine similarity ${faq.similarity.toFixed(2)}`;
}

async function load() {
  model = await loadModel("text", ({ shape }) => `up to ${shape[0].toLocaleString("en")} tokens`);
}

function clear() {
  pending.abort();
  text = null;
  $("text").value = "";
  $("text").focus(); // a disabled button would lose the focus
  $("clear").disabled = true;
  $("result").hidden = $("explained").hidden = true;
  $("spoken").textContent = "";
  hideErrors();
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  predict(new Blob([$("text").value], { type: "text/plain;charset=utf-8" }));
});
$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("ask").requestSubmit();
});
$("clear").addEventListener("click", clear);
onRetry(() => (text ? predict(text) : load().catch(showError)));

load().catch(showError);
