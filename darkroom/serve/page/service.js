// Requests to the service and their errors.

const KEY = "darkroom-api-key"; // in sessionStorage, which ends with the tab

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const setKey = (key) => sessionStorage.setItem(KEY, key);

// An error of the service: its HTTP status, or 0 if it could not be reached, and a message to show.
export class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// The JSON response to a GET, or to a POST of a Blob. Throws Failure, or AbortError after `signal`.
export async function call(path, input, signal) {
  const headers = {};
  if (hasKey()) headers.authorization = `Bearer ${sessionStorage.getItem(KEY)}`;
  if (input) headers["content-type"] = input.type || "application/octet-stream";
  let response, answer;
  try {
    response = await fetch(path, { method: input ? "POST" : "GET", body: input, headers, signal });
    answer = await response.json().catch((error) => {
      if (error.name === "AbortError") throw error; // also while the answer is read
      return {};
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "The service does not respond. It may have stopped, or the connection is lost.");
  }
  if (response.ok) return answer;
  const noun = NOUNS.find(([type]) => input?.type.startsWith(type))?.[1] ?? "image";
  throw new Failure(response.status, message(response.status, noun, answer.error, response.headers.get("retry-after") ?? 1));
}

const NOUNS = [["text/", "text"], ["application/json", "history"]]; // what is sent, by its type; else an image
const UNSUPPORTED = "The file is not a supported image. Use a JPEG, PNG, WebP, BMP, TIFF or GIF file.";

// An error in a visitor's words: the service's own words are for programs.
function message(status, noun, error = "", seconds = 1) {
  switch (status) {
    case 401:
      return "The service needs an API key.";
    case 408:
      return `The ${noun} did not arrive in time.`;
    case 413:
      return noun === "image" ? `The file is too large${limit(error)}.` : `The ${noun} is too long.`;
    case 415:
      return UNSUPPORTED;
    case 422:
      return { image: reason, text: textReason }[noun]?.(error) ?? error;
    case 429:
      return `The service is busy. Try again in ${seconds > 1 ? `${seconds} seconds` : "a second"}.`;
    case 504:
      return "The prediction took too long.";
    default:
      return `The service failed with status ${status}.`;
  }
}

function limit(error) {
  const bytes = /([\d,]+) bytes/.exec(error);
  return bytes ? `: it may have up to ${(Number(bytes[1].replaceAll(",", "")) / 1e6).toPrecision(2)}\u00a0MB` : "";
}

// Why an image is unusable, without what only operators and programs need.
function reason(error) {
  const size = /([\d,]+) x ([\d,]+) pixels/.exec(error);
  if (size) return `The image is too large: it has ${size[1]} × ${size[2]} pixels.`;
  if (error.includes("supported image format")) return UNSUPPORTED;
  return error.replace(/ \(.*\)/, "");
}

// Why a text is unusable.
function textReason(error) {
  const length = /([\d,]+) characters, more than ([\d,]+)/.exec(error);
  if (length) return `The text is too long: it has ${length[1]} characters, but may have up to ${length[2]}.`;
  return error.includes("empty") ? "The text is empty: write a few words." : error;
}
