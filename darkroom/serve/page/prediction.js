// Shows a prediction: the class, or that it is withheld, and the classes with their probabilities.

import { count, milliseconds, percent } from "./numbers.js";

const $ = (id) => document.getElementById(id);

// Shows a response of v1/predict, which took `trip` milliseconds; `model` is the response of v1/model, `noun` names an
// example.
export function showPrediction(answer, model, trip, noun) {
  const confidence = percent(answer.confidence);
  const threshold = model.threshold;
  const withheld = answer.abstained && threshold !== null;
  $("result").classList.toggle("withheld", withheld);
  $("result").classList.toggle("threshold", threshold !== null);
  $("result").style.setProperty("--threshold", `${100 * (threshold ?? 0)}%`);
  $("verdict").textContent = withheld ? "Not confident enough" : answer.label;
  $("confidence").textContent = withheld ? "" : confidence;
  $("why").hidden = !answer.abstained;
  $("why").textContent = withheld
    ? `Best guess: ${answer.label}, ${confidence}. The threshold is ${percent(threshold)}.`
    : `Check this prediction: with ${count(model.validation_examples, `validation ${noun}`)}, no confidence was shown to be reliable.`;
  $("bars").replaceChildren(...answer.classes.map(row));
  const all = answer.classes.length === model.classes.length;
  $("caption").textContent =
    (all ? "" : `The ${answer.classes.length} most probable of ${model.classes.length} classes. `) +
    (threshold === null ? "" : `The dotted line is the threshold, ${percent(threshold)}: below it the prediction is withheld.`);
  $("inference").textContent = milliseconds(answer.inference_ms);
  $("trip").textContent = milliseconds(trip);
  $("spoken").textContent = withheld ? `${$("verdict").textContent}. ${$("why").textContent}` : `${answer.label}, ${confidence}. ${answer.abstained ? $("why").textContent : ""}`.trim();
}

function row({ label, probability }, index) {
  const line = document.createElement("tr");
  const name = Object.assign(document.createElement("th"), { scope: "row" });
  const bar = Object.assign(document.createElement("td"), { className: "bar" });
  const number = Object.assign(document.createElement("td"), { textContent: percent(probability) });
  line.className = index ? "" : "first";
  name.append(Object.assign(document.createElement("span"), { textContent: label }));
  bar.append(document.createElement("div"));
  bar.firstChild.style.setProperty("--fraction", `${100 * probability}%`);
  line.append(name, bar, number);
  return line;
}
