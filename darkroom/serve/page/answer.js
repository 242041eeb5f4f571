// What the service answered, for people: the classes with their probabilities, and what the network looked at.

const $ = (id) => document.getElementById(id);
const FOR = [213, 94, 0]; // red, green, blue of what speaks for the class; both colours are told apart by the colour-blind
const AGAINST = [0, 114, 178];

// Shows an answer of v1/predict by `model` of v1/model, which took so many milliseconds.
export function showAnswer(answer, model, trip) {
  const sure = percent(answer.confidence);
  const needed = model.threshold;
  $("result").classList.toggle("withheld", answer.abstained);
  $("result").classList.toggle("threshold", needed !== null);
  $("result").style.setProperty("--threshold", `${100 * (needed ?? 0)}%`);
  $("verdict").textContent = answer.abstained ? "Not sure enough to say" : answer.label;
  $("sure").textContent = answer.abstained ? "" : sure;
  $("why").hidden = !answer.abstained;
  $("why").textContent =
    needed === null
      ? `Its best guess is ${answer.label} with ${sure}. It withholds every answer: at no threshold did it reach the accuracy that was asked of it.`
      : `Its best guess is ${answer.label} with ${sure}; from ${percent(needed)} on it would answer.`;
  $("bars").replaceChildren(...answer.classes.map(row));
  const all = answer.classes.length === model.classes.length;
  $("caption").textContent =
    (all ? "" : `The ${answer.classes.length} most probable of ${model.classes.length} classes. `) +
    (needed === null ? "" : `The dotted line is at ${percent(needed)}: below it the model gives no answer.`);
  $("decode").textContent = milliseconds(answer.decode_ms);
  $("inference").textContent = milliseconds(answer.inference_ms);
  $("trip").textContent = milliseconds(trip);
  $("spoken").textContent = answer.abstained ? `${$("verdict").textContent}. ${$("why").textContent}` : `${answer.label}, ${sure}.`;
}

function row({ label, probability }, place) {
  const line = document.createElement("tr");
  const name = Object.assign(document.createElement("th"), { scope: "row" });
  const bar = Object.assign(document.createElement("td"), { className: "bar" });
  const number = Object.assign(document.createElement("td"), { textContent: percent(probability) });
  line.className = place ? "" : "first";
  name.append(Object.assign(document.createElement("span"), { textContent: label }));
  bar.append(document.createElement("div"));
  bar.firstChild.style.setProperty("--share", `${100 * probability}%`);
  line.append(name, bar, number);
  return line;
}

function percent(share) {
  const text = share < 0.0005 ? "< 0.1" : share > 0.9995 && share < 1 ? "> 99.9" : (100 * share).toFixed(1);
  return `${text}\u00a0%`;
}

const milliseconds = (time) => `${time < 10 ? time.toFixed(1) : Math.round(time)}\u00a0ms`;

// Shows an answer of v1/explain.
export async function showExplanation({ label, picture, map, window, probability, covered }) {
  const image = Object.assign(new Image(), { src: picture });
  await image.decode();
  const [height, width] = [map.length, map[0].length];
  for (const id of ["seen", "map"]) {
    Object.assign($(id), { width, height }).getContext("2d", { willReadFrequently: true }).drawImage(image, 0, 0);
  }
  paint($("map").getContext("2d"), map);
  const place = whereabouts(window, height, width);
  $("seen").ariaLabel = `The picture as the network saw it, ${width} by ${height} pixels`;
  $("seen-note").textContent = `As the network saw it: ${width} × ${height}`;
  $("map").ariaLabel = `Map of what speaks for and against ${label}; the most telling spot is ${place}`;
  $("target").textContent = label;
  $("telling").textContent =
    covered < probability
      ? `With the most telling spot covered, ${place}, the probability of ${label} falls from ${percent(probability)} to ${percent(covered)}.`
      : `Whatever spot is covered, ${label} is as probable as before or more so.`;
}

// Colours the parts that speak for or against the class, over the darkened picture, on the map's own scale.
function paint(context, map) {
  const { width, height } = context.canvas;
  const most = Math.max(...map.map((row) => Math.max(...row.map(Math.abs)))) || 1;
  const image = context.getImageData(0, 0, width, height);
  map.flat().forEach((fall, place) => {
    const strength = Math.sqrt(Math.abs(fall) / most);
    const colour = fall > 0 ? FOR : AGAINST;
    for (let channel = 0; channel < 3; channel++) {
      const grey = 0.5 * image.data[4 * place + channel];
      image.data[4 * place + channel] = grey + strength * 0.85 * (colour[channel] - grey);
    }
  });
  context.putImageData(image, 0, 0);
}

function whereabouts({ top, left, height, width }, rows, columns) {
  const third = (middle, names) => names[Math.min(2, Math.floor(3 * middle))];
  const vertical = third((top + height / 2) / rows, ["top", "middle", "bottom"]);
  const horizontal = third((left + width / 2) / columns, ["left", "middle", "right"]);
  return vertical === horizontal ? "in the middle" : `at the ${vertical} ${horizontal}`;
}
