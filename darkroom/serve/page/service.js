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

// The JSON response to a GET, or to a POST of an image. Throws Failure, or AbortError after `signal`.
export async function call(path, image, signal) {
  const headers = {};
  if (hasKey()) headers.authorization = `Bearer ${sessionStorage.getItem(KEY)}`;
  if (image) headers["content-type"] = image.type || "application/octet-stream";
  let response, answer;
  try {
    response = await fetch(path, { method: image ? "POST" : "GET", body: image, headers, signal });
    answer = await response.json().catch(() => ({}));
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "The service does not respond. It may have stopped, or the connection is lost.");
  }
  if (response.ok) return answer;
  throw new Failure(response.status, message(response.status, answer.error, response.headers.get("retry-after") ?? 1));
}

function message(status, error = "", seconds = 1) {
  switch (status) {
    case 413:
      return `The image is too large. ${error}`;
    case 415:
      return `The file is not a supported image. ${error}`;
    case 429:
      return `The service is busy. Try again in ${seconds > 1 ? `${seconds} seconds` : "a second"}.`;
    case 504:
      return `The request took too long. ${error}`;
    default:
      return error || `The service failed with status ${status}.`;
  }
}
