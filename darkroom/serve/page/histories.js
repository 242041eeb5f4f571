// The page at / of a recommender: the user builds a history, and the page shows what the service recommends after it.

import { finder, nameOf } from "./finder.js";
import { describeModel, during, hideErrors, measured, onRetry, showError } from "./frame.js";
import { count, milliseconds } from "./numbers.js";
import { call } from "./service.js";

const $ = (id) => document.getElementById(id);
const COUNT = 10; // items that are recommended
const MOST = 60; // percent of the colour of the most important event: the text must remain readable
const NOTABLE = 0.25; // of the largest value, from which an event that opposes is underlined

let model; // the response of v1/model
let events = []; // the items of the history, oldest first
let pending = new AbortController(); // for the last history; a newer one aborts its requests

// A probability; those of many items are small.
const percent = (value) => `${value < 0.01 ? Number((100 * value).toPrecision(2)) : (100 * value).toFixed(1)}\u00a0%`;

const made = (name, properties) => Object.assign(document.createElement(name), properties);

async function update() {
  pending.abort();
  pending = new AbortController();
  const { signal } = pending;
  const history = events.map(({ id }) => id);
  $("spoken").textContent = ""; // the last recommendations are not those of this history
  try {
    const found = recommend(history, signal);
    await during(found, $("result"), signal);
    const { based_on, items } = await found;
    $("explained").hidden = based_on !== "history" || !items.length;
    if (!$("explained").hidden) await during(explain(history, items[0], signal), $("explained"), signal);
  } catch (error) {
    showError(error);
  }
}

const body = (values) => new Blob([JSON.stringify(values)], { type: "application/json" });

async function recommend(history, signal) {
  const started = performance.now();
  const answer = await call("v1/recommend", body({ history, count: COUNT, leave_out_seen: !$("repeat").checked }), signal);
  const trip = performance.now() - started;
  if (answer.model.version !== model?.version) await load(); // another model was loaded meanwhile
  signal.throwIfAborted();
  hideErrors();
  const { items, known_items: known, unknown_items: unknown, cut } = answer;
  const popular = answer.based_on === "popularity";
  const highest = Math.max(...items.map(({ probability }) => probability)) || 1;
  $("why").hidden = !popular && !unknown && !cut;
  $("why").textContent = [
    popular && (history.length ? "No item of the history is known: these are the most frequent items." : "Without a history, these are the most frequent items."),
    unknown > 0 && !popular && `${count(unknown, "item")} of the history ${unknown === 1 ? "is" : "are"} unknown.`,
    cut && `Only the latest ${model.shape[0].toLocaleString("en")} items are read.`,
  ]
    .filter(Boolean)
    .join(" ");
  if ($("bars").contains(document.activeElement)) $("search").focus(); // the row that has the focus is replaced
  $("bars").replaceChildren(...items.map((item, rank) => row(item, rank, highest)));
  $("caption").textContent = !items.length
    ? "All items are in the history."
    : popular
      ? "Percentages are fractions of the training events; bars are relative to the largest."
      : "Probabilities are among all items; bars are relative to the largest.";
  $("count").textContent = Math.min(known, model.shape[0]).toLocaleString("en");
  $("inference").textContent = milliseconds(answer.inference_ms);
  $("trip").textContent = milliseconds(trip);
  $("result").hidden = false;
  $("spoken").textContent = `${count(items.length, "recommendation")}: ${items.slice(0, 3).map(nameOf).join(", ")}`;
  return answer;
}

function row(item, rank, highest) {
  const line = made("tr", { className: rank ? "" : "first" });
  const name = made("th", { scope: "row" });
  const button = made("button", { type: "button", textContent: nameOf(item), title: "Add to the history", dir: "auto" });
  button.addEventListener("click", () => add(item));
  name.append(button);
  const bar = made("td", { className: "bar" });
  bar.append(document.createElement("div"));
  bar.firstChild.style.setProperty("--fraction", `${(100 * item.probability) / highest}%`);
  line.append(name, bar, made("td", { textContent: percent(item.probability) }));
  return line;
}

async function explain(history, { id }, signal) {
  const { item, events: values } = await call("v1/explain", body({ history, item: id }), signal);
  const strongest = Math.max(...values.map(({ value }) => Math.abs(value ?? 0))) || 1;
  $("target").textContent = nameOf(item);
  $("events").replaceChildren(...values.map((event) => reason(event, strongest)));
}

// An event, coloured by its value. Titles are never read as markup.
function reason(event, strongest) {
  const line = document.createElement("li");
  const span = made("span", { textContent: nameOf(event), dir: "auto" });
  const { value } = event;
  if (value !== null) {
    span.className = value > 0 ? "supports" : value < 0 ? "opposes" : "";
    span.classList.toggle("strong", Math.abs(value) >= NOTABLE * strongest);
    span.title = value.toFixed(2);
    span.style.setProperty("--strength", `${(MOST * Math.abs(value)) / strongest}%`);
  }
  line.append(span);
  return line;
}

function showHistory() {
  $("history").replaceChildren(...events.map(entry));
  $("clear").disabled = !events.length;
}

function entry(item, index) {
  const line = document.createElement("li");
  const remove = made("button", { type: "button", textContent: "×", ariaLabel: `Remove ${nameOf(item)}` });
  remove.addEventListener("click", () => {
    events.splice(index, 1);
    change();
    ($("history").children[Math.min(index, events.length - 1)]?.querySelector("button") ?? $("search")).focus();
  });
  line.append(made("span", { textContent: nameOf(item), dir: "auto" }), remove);
  return line;
}

function add(item) {
  events.push(item);
  change();
  $("history").lastChild.scrollIntoView({ block: "nearest" });
  $("search").focus(); // the button that was clicked is replaced
}

function change() {
  showHistory();
  update();
}

async function load() {
  model = await describeModel(({ shape }) => `up to ${shape[0].toLocaleString("en")} items of ${(shape[1] - 1).toLocaleString("en")}`);
  const name = "of the next items are among the first 10 recommended ones,";
  $("facts").textContent = measured(model.metrics, "hr_at_10", name, "test history", "test histories");
}

$("clear").addEventListener("click", () => {
  events = [];
  change();
  $("search").focus(); // a disabled button would lose the focus
});
$("repeat").addEventListener("change", update);
finder(add, showError);
onRetry(() => load().then(update, showError));

load().then(update, showError);
