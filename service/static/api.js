// What the page says to the service, and one kind of error for everything that can go wrong.

const TIMEOUT_MS = 600_000; // well above the service's own deadline: it also covers a slow upload
const LARGE_BYTES = 8_000_000; // from here on, a lost connection may well mean "too large"

const KEY = /^[!-~]*$/; // the service has no others, and fetch refuses to send some

const TITLES = { // plainer than HTTP's own phrases; the service's detail follows
  400: "The image cannot be read",
  401: "An API key is needed",
  408: "The upload was too slow",
  413: "The image is too large",
  415: "This is not an image that the service reads",
  429: "The service is busy",
  502: "The service is not running",
  503: "The service is not ready",
  504: "It took too long",
};

/** A failure that a person can read: `title`, `detail` and the HTTP status (0: there was no answer). */
export class Problem extends Error {
  constructor(title, detail = "", status = 0) {
    super(title);
    this.title = title;
    this.detail = detail;
    this.status = status;
  }
}

let key = "";

/** Send this API key from now on; it lives as long as the page. */
export function useKey(value) {
  key = value.trim();
}

/** `{models: [card, ...], default: name}`. */
export function listModels() {
  return request("models", {}, (response) => response.json());
}

/** The full answer for one image: classes, areas, mask, timings. `signal` cancels. */
export function segment(image, { model, signal }) {
  return post(image, { model, format: "json" }, signal, (response) => response.json());
}

/** The image with the mask blended over it, as a JPEG; opacity 0 is the image alone, upright. */
export function overlay(image, { model, opacity, signal }) {
  return post(image, { model, format: "overlay", opacity }, signal, (response) => response.blob());
}

function post(image, query, signal, read) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  // The service looks at the content, so the name of the type does not matter.
  const headers = { "Content-Type": "application/octet-stream" };
  return request(`segment?${new URLSearchParams(given)}`, { method: "POST", headers, body: image, signal }, read);
}

async function request(address, { headers = {}, signal, ...options }, read) {
  signal?.throwIfAborted(); // a signal tells once
  if (!KEY.test(key)) throw new Problem(TITLES[401], "This key holds a character that no key has.", 401);
  const abort = new AbortController();
  const late = new Problem("It took too long", "The service did not answer in time. A smaller image is faster.");
  const timer = setTimeout(() => abort.abort(late), TIMEOUT_MS);
  signal?.addEventListener("abort", () => abort.abort(signal.reason));
  if (key) headers = { ...headers, Authorization: `Bearer ${key}` };
  try {
    const response = await fetch(address, { ...options, headers, signal: abort.signal });
    if (!response.ok) throw await problemFrom(response);
    return await read(response);
  } catch (error) {
    if (abort.signal.aborted) throw abort.signal.reason;
    throw error instanceof Problem ? error : noAnswer(options.body?.size ?? 0);
  } finally {
    clearTimeout(timer);
  }
}

function noAnswer(bytes) {
  const reason = bytes > LARGE_BYTES
    ? `The connection broke during the upload. The file has ${(bytes / 1e6).toFixed(0)} MB and may be over the limit.`
    : "Is the service running, and are you online?";
  return new Problem("No answer from the service", reason);
}

async function problemFrom(response) {
  const body = await response.json().catch(() => ({})); // a proxy's error page is no JSON
  const title = TITLES[response.status] || body.title || `The service answered ${response.status}`;
  const wait = response.headers.get("Retry-After");
  const sentences = [body.detail && sentence(String(body.detail)), wait && `Try again in ${wait} s.`];
  return new Problem(title, sentences.filter(Boolean).join(" "), response.status);
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
