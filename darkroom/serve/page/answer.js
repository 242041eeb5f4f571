// Shows the service's responses for an image: the prediction and the occlusion map.

import { milliseconds, percent } from "./numbers.js";
import { showPrediction } from "./prediction.js";

const $ = (id) => document.getElementById(id);
const FOR = [213, 94, 0]; // RGB of evidence for the class; colour-blind people can tell the two colours apart
const AGAINST = [0, 114, 178];
const COARSE = 112; // pixels per side below which an image is enlarged with visible pixels; a photo is smoothed

// Shows a response of v1/predict: see showPrediction.
export function showAnswer(answer, model, trip) {
  showPrediction(answer, model, trip, "image");
  $("decode").textContent = milliseconds(answer.decode_ms);
}

// Shows a response of v1/explain unless it is aborted.
export async function showExplanation({ label, image, map, window, probability, covered }, signal) {
  const input = Object.assign(new Image(), { src: image });
  await input.decode();
  signal.throwIfAborted();
  const [height, width] = [map.length, map[0].length];
  for (const id of ["seen", "map"]) {
    $(id).classList.toggle("coarse", Math.max(width, height) < COARSE);
    Object.assign($(id), { width, height }).getContext("2d", { willReadFrequently: true }).drawImage(input, 0, 0);
  }
  paint($("map").getContext("2d"), map);
  const position = positionOf(window, height, width);
  $("seen").ariaLabel = `The input of the model, ${width} by ${height} pixels`;
  $("seen-note").textContent = `Input of the model: ${width} × ${height}`;
  $("map").ariaLabel = `Map of the evidence for and against ${label}; the most important region is ${position}`;
  $("target").textContent = label;
  $("important").textContent =
    covered < probability
      ? `Covering the most important region, ${position}, lowers the probability of ${label} from ${percent(probability)} to ${percent(covered)}.`
      : `Covering any region leaves the probability of ${label} the same or raises it.`;
}

// Colours the evidence over the darkened image, scaled by the largest value of the map.
function paint(context, map) {
  const { width, height } = context.canvas;
  const most = Math.max(...map.map((row) => Math.max(...row.map(Math.abs)))) || 1;
  const image = context.getImageData(0, 0, width, height);
  map.flat().forEach((fall, index) => {
    const strength = Math.sqrt(Math.abs(fall) / most);
    const colour = fall > 0 ? FOR : AGAINST;
    for (let channel = 0; channel < 3; channel++) {
      const grey = 0.5 * image.data[4 * index + channel];
      image.data[4 * index + channel] = grey + strength * 0.85 * (colour[channel] - grey);
    }
  });
  context.putImageData(image, 0, 0);
}

function positionOf({ top, left, height, width }, rows, columns) {
  const third = (middle, names) => names[Math.min(2, Math.floor(3 * middle))];
  const vertical = third((top + height / 2) / rows, ["top", "middle", "bottom"]);
  const horizontal = third((left + width / 2) / columns, ["left", "middle", "right"]);
  return vertical === horizontal ? "in the middle" : `at the ${vertical} ${horizontal}`;
}
