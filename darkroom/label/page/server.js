// Requests to the program that shows this page, and their errors.

// An error: its HTTP status, or 0 if the program could not be reached, and a message to show.
export class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// The JSON response to a GET, or to a POST of `body`. Throws Failure.
export async function call(path, body) {
  const init = body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const response = await reach(path, init);
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new Failure(response.status, answer.error ?? `The program failed with status ${response.status}.`);
}

// An image as a URL within this page, or a text, and a remark on it. Throws Failure.
export async function input(key) {
  const response = await reach(`v1/input/${key}`);
  if (!response.ok) throw new Failure(response.status, "The example cannot be shown. Reload the page.");
  const remark = JSON.parse(response.headers.get("x-remark"));
  if (response.headers.get("content-type").startsWith("text/")) return { text: await response.text(), remark };
  return { url: URL.createObjectURL(await response.blob()), remark };
}

async function reach(path, init) {
  try {
    return await fetch(path, init);
  } catch {
    throw new Failure(0, "The program has stopped. All confirmed answers are saved. Start it again: python -m darkroom.label");
  }
}
