// How the pages write numbers.

export function percent(probability) {
  const text =
    probability < 0.0005 ? "< 0.1" : probability > 0.9995 && probability < 1 ? "> 99.9" : (100 * probability).toFixed(1);
  return `${text}\u00a0%`;
}

export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
export const milliseconds = (time) => `${time < 10 ? time.toFixed(1) : Math.round(time)}\u00a0ms`;
