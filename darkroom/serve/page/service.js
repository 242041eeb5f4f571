// Requests to the service, and what goes wrong with them.

const KEY = "darkroom-api-key"; // of sessionStorage, which ends with the tab

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const setKey = (key) => sessionStorage.setItem(KEY, key);

// What the service refused or could not do: the HTTP status, 0 where it could not be reached, and a sentence for people.
export class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// The JSON that is answered to a GET, or to a POST of a picture; throws Failure, and AbortError once `signal` says so.
export async function call(path, picture, signal) {
  const headers = {};
  if (hasKey()) headers.authorization = `Bearer ${sessionStorage.getItem(KEY)}`;
  if (picture) headers["content-type"] = picture.type || "application/octet-stream";
  let response, answer;
  try {
    response = await fetch(path, { method: picture ? "POST" : "GET", body: picture, headers, signal });
    answer = await response.json().catch(() => ({}));
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "The service does not answer. It may have stopped, or the connection is lost.");
  }
  if (response.ok) return answer;
  throw new Failure(response.status, sentence(response.status, answer.error, response.headers.get("retry-after") ?? 1));
}

function sentence(status, told = "", seconds = 1) {
  switch (status) {
    case 413:
      return `This picture is too large. ${told}`;
    case 415:
      return `This is no picture of a kind that the service takes. ${told}`;
    case 429:
      return `The service has too much to do. Try again in ${seconds > 1 ? `${seconds} seconds` : "a second"}.`;
    case 504:
      return `It took too long. ${told}`;
    default:
      return told || `The service failed with code ${status}.`;
  }
}
