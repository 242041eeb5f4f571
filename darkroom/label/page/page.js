// The label page: shows an example, sends the answer, and shows the next one when the answer is saved.

import * as classes from "./classes.js";
import { call, Failure, input } from "./server.js";

const $ = (id) => document.getElementById(id);
const SMALL = 64; // pixels: smaller images are shown as squares of one colour per pixel
const OFTEN = 25; // answers between two looks at the agreement

let state; // the last response of the program
let shown = null; // key of the example that is shown
let busy = true; // while an answer is being saved, or before the example is there: keys do nothing
let answered = 0;
const inputs = new Map(); // key -> promise of the image or text, for the present and the next example

// Actions

async function act(path, body) {
  if (busy) return;
  wait(true);
  try {
    await show(await call(path, { turn: state.turn, ...body }));
    hideAlert();
  } catch (error) {
    await fail(error);
  } finally {
    wait(false);
  }
}

async function answer(label) {
  if (busy || !state.example || state.example.key !== shown) return; // never for an example that is not shown
  await act("v1/answer", { label });
  if (++answered % OFTEN === 0) showAgreement();
}

const undo = () => state?.last && act("v1/undo");
const skip = () => state?.example && act("v1/skip");

async function guess() {
  if (busy || !state.example) return;
  const asked = state.example.key;
  $("guessed").hidden = false;
  $("guessed").textContent = "…";
  let found;
  try {
    found = await call(`v1/guess/${asked}`);
  } catch (error) {
    return fail(error);
  }
  if (state.example?.key !== asked) return;
  const lines = found.classes.map(({ label, probability }) => (probability === null ? label : `${label} ${percent(probability)}`));
  if (found.problem) lines.push(found.problem);
  if (found.reason) lines.push(`Shown because: ${found.reason}`);
  $("guessed").replaceChildren(...lines.map((line) => Object.assign(document.createElement("p"), { textContent: line })));
  $("guessed").scrollIntoView({ block: "nearest" });
  say(`Guess: ${lines.join(", ")}`);
}

const percent = (fraction) => `${(100 * fraction).toFixed(fraction > 0.995 ? 1 : 0)}\u00a0%`;

function wait(waiting) {
  busy = waiting;
  $("stage").setAttribute("aria-busy", waiting);
}

// Errors

async function fail(error) {
  if (!(error instanceof Failure)) throw error;
  $("problem").textContent = error.message;
  $("alert").hidden = false;
  $("alert").scrollIntoView({ block: "nearest" });
  if (error.status === 409) await show(await call("v1/session")); // another window went on
}

function hideAlert() {
  $("alert").hidden = true;
}

async function again() {
  wait(true);
  try {
    await show(await call("v1/session"));
    hideAlert();
    $("stage").focus();
  } catch (error) {
    await fail(error);
  } finally {
    wait(false);
  }
}

// What is shown

async function show(found) {
  const moved = found.example?.key !== shown;
  state = { ...state, ...found };
  const { example, done, total, skipped, last } = state;
  $("done").textContent = `${done.toLocaleString("en")} of ${total.toLocaleString("en")}`;
  $("source").textContent = [state.source, skipped ? `${skipped.toLocaleString("en")} skipped` : ""].filter(Boolean).join(" · ");
  $("bar").max = total;
  $("bar").value = done;
  $("undo").disabled = !last;
  showLast(last);
  const finished = !example;
  for (const part of document.querySelectorAll(".stage, .choice, .after")) part.hidden = finished;
  $("finished").hidden = !finished;
  if (finished) return finish();
  $("which").textContent = `Example ${Math.min(done + 1, total).toLocaleString("en")} of ${total.toLocaleString("en")}${example.skipped ? ", skipped before" : ""}`;
  if (!moved) return;
  $("guessed").hidden = true;
  classes.leave();
  await showInput(example.key);
  for (const key of inputs.keys()) if (key !== example.key && key !== state.next) forget(key);
  if (state.next) load(state.next).catch(() => inputs.delete(state.next));
  say(`${last ? `${said(last)}. ` : ""}${$("which").textContent}.`);
  if (document.activeElement === document.body) $("stage").focus({ preventScroll: true });
}

async function showInput(key) {
  let found;
  try {
    found = await load(key);
  } catch (error) {
    inputs.delete(key);
    $("image").hidden = $("text").hidden = true; // not those of the last example
    throw error;
  }
  const { url, text, remark } = found;
  if (url) await showImage(url);
  else $("text").textContent = text;
  $("image").hidden = !url;
  $("text").hidden = Boolean(url);
  $("remark").textContent = remark;
  $("remark").hidden = !remark;
  shown = key;
}

async function showImage(url) {
  const picture = $("image");
  picture.src = url;
  await picture.decode();
  picture.alt = $("which").textContent;
  picture.classList.toggle("small", Math.max(picture.naturalWidth, picture.naturalHeight) <= SMALL);
}

function load(key) {
  if (!inputs.has(key)) inputs.set(key, input(key));
  return inputs.get(key);
}

function forget(key) {
  inputs.get(key).then(({ url }) => url && URL.revokeObjectURL(url), () => {});
  inputs.delete(key);
}

function said({ label, present }) {
  if (label === null) return "Skipped";
  const given = label === "" ? "Unclear" : label;
  if (!present) return given;
  return label === present ? `${given}, as it was labelled` : `${given}; it was labelled ${present}`;
}

function showLast(last) {
  $("last").hidden = !last;
  if (!last) return;
  const answer = Object.assign(document.createElement("strong"), { textContent: said(last) });
  $("last").replaceChildren("Last: ", answer, Object.assign(document.createElement("span"), { textContent: last.id, className: "soft" }));
}

function finish() {
  shown = null;
  for (const key of [...inputs.keys()]) forget(key);
  const { total } = state;
  $("finished-text").textContent = `${total === 1 ? "The example has" : `All ${total.toLocaleString("en")} examples have`} an answer, in ${state.file}.`;
  $("undo-last").disabled = !state.last;
  say("All done.");
  $("finished").focus();
  showAgreement();
}

async function showAgreement() {
  const pairs = await call("v1/agreement").catch(() => []);
  $("agreement").hidden = !pairs.length;
  $("pairs").textContent = pairs
    .slice(0, 3)
    .map(({ one, other, examples, agreed, kappa }) => `${one} and ${other}: ${percent(agreed / examples)} of ${examples.toLocaleString("en")}${kappa === null ? "" : `, kappa ${kappa.toFixed(2)}`}`)
    .join(" · ");
}

function say(text) {
  $("spoken").textContent = text;
}

// Input

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (!$("keys").checked || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat || !state) return;
  if (target.matches("input[type=text]") || (target.matches("button, input") && [" ", "Enter"].includes(key))) return;
  const action = { " ": skip, Backspace: undo, "?": guess, "/": () => $("name").focus(), 0: () => answer("") }[key];
  const label = classes.named(key.toLowerCase());
  if (!action && label === undefined) return;
  event.preventDefault();
  action ? action() : answer(label);
});
document.addEventListener("click", ({ detail, target }) => {
  // A button that was clicked with a pointer must not get the next Space, which means skip.
  if (detail && target.closest("button") && !$("stage").hidden) $("stage").focus({ preventScroll: true });
});
for (const [id, action] of Object.entries({ undo, "undo-last": undo, skip, guess, again, unclear: () => answer("") })) $(id).addEventListener("click", action);

async function start() {
  try {
    const opened = await call("v1/session");
    classes.start(opened.classes, answer);
    $("title").textContent = opened.title;
    document.title = `${opened.title} · Label · Darkroom`;
    $("by").textContent = opened.by;
    $("file").textContent = opened.file;
    await show(opened);
    showAgreement();
  } catch (error) {
    await fail(error);
  } finally {
    wait(false);
  }
}

start();
