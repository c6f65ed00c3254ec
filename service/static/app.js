// The page: takes an image, asks the service, shows the answer. Sliding the opacity asks nothing again.

import { Problem, listModels, overlay, segment, useKey } from "./api.js";
import { withTransparent } from "./png.js";
import { milliseconds, showFacts, showLegend, showShares, summary, wholePercent } from "./view.js";

const REVOKE_AFTER_MS = 60_000; // some browsers still read a download's address after the click
const CANVAS_PIXELS = 16_000_000; // phones draw no larger canvas
const $ = (id) => document.getElementById(id);

const cards = new Map(); // by model name
let image = null; // the File on show
let answer = null; // what the service says of it
let running = null; // AbortController of the task under way
let again = null; // repeats the task that failed

/** One task at a time: while it runs the page says so, can cancel it, and takes no other. */
async function busyWith(text, task) {
  if (running) return;
  running = new AbortController();
  const focused = document.activeElement;
  setBusy(text);
  showProblem(null);
  try {
    await task(running.signal);
  } catch (error) {
    again = () => busyWith(text, task);
    if (!running.signal.aborted) showProblem(error);
    else $("status").textContent = "Cancelled";
  } finally {
    running = null;
    setBusy("");
    if (document.activeElement === document.body) focused?.focus({ preventScroll: true }); // disabling took it away
  }
}

function setBusy(text) {
  document.body.classList.toggle("is-busy", Boolean(text));
  $("stage").setAttribute("aria-busy", String(Boolean(text)));
  $("busy").hidden = !text;
  $("busy-text").textContent = text;
  if (text) $("status").textContent = text;
  for (const control of document.querySelectorAll("#file, #model, #retry, .sample, [data-download]")) {
    control.disabled = Boolean(text);
  }
}

function showProblem(error) {
  $("problem").hidden = !error;
  if (!error) return;
  const problem = error instanceof Problem ? error : new Problem("The result cannot be shown", error.message);
  const temporary = problem.status === 0 || problem.status === 408 || problem.status === 429 || problem.status >= 500;
  $("problem-title").textContent = problem.title;
  $("problem-detail").textContent = problem.detail;
  $("retry").hidden = !temporary || !again;
  $("key-form").hidden = problem.status !== 401;
  $("status").textContent = "";
  $("problem").scrollIntoView({ block: "nearest" });
}

/** Point an <img> at a blob (null: at nothing) and wait until it shows, or cannot. */
function load(target, blob) {
  if (target.src.startsWith("blob:")) URL.revokeObjectURL(target.src);
  target.hidden = !blob;
  if (!blob) return target.removeAttribute("src");
  return new Promise((resolve) => {
    target.onload = () => resolve(true);
    target.onerror = () => {
      target.hidden = true;
      resolve(false);
    };
    target.src = URL.createObjectURL(blob);
  });
}

function setRatio(width, height) {
  $("frame").style.setProperty("--ratio", width / height);
  $("frame").hidden = false;
  $("invitation").hidden = true;
}

async function preview(file) {
  const shown = await load($("picture"), file);
  if (shown) setRatio($("picture").naturalWidth, $("picture").naturalHeight);
  return shown;
}

function clear(file) {
  image = file;
  answer = null;
  load($("mask"), null);
  $("frame").hidden = true;
  $("invitation").hidden = false;
  for (const id of ["opacity-row", "result", "shares"]) $(id).hidden = true;
  showModelLegend();
}

function run(file) {
  return busyWith(`Segmenting ${file.name}`, (signal) => show(file, signal));
}

async function show(file, signal) {
  clear(file);
  const shown = preview(file);
  const started = performance.now();
  const result = await segment(file, { model: chosenModel(), signal });
  const roundTrip = performance.now() - started;
  await showPicture(result, await shown, signal);
  signal.throwIfAborted();
  answer = result;
  showNumbers(roundTrip);
}

async function showPicture(result, shown, signal) {
  const { width, height, orientation } = result.image;
  const { naturalWidth, naturalHeight } = $("picture");
  // Browsers turn every JPEG upright, but not every PNG or WebP, and most show no TIFF: the service has the pixels, and
  // gives them at the price of a second answer.
  const upright = orientation === 1 || image.type === "image/jpeg";
  if (!shown || !upright || naturalWidth !== width || naturalHeight !== height) {
    await load($("picture"), await overlay(image, { model: result.model.name, opacity: 0, signal }));
  }
  const background = result.classes.filter((entry) => entry.id === 0 && entry.name === "background");
  const mask = withTransparent(maskBytes(result), background.map((entry) => entry.id));
  if (!(await load($("mask"), mask))) throw new Error("The browser cannot read the mask.");
  $("picture").alt = image.name;
  $("mask").alt = `Mask: ${summary(result)}`;
  setRatio(width, height);
}

function showNumbers(roundTrip) {
  showLegend($("legend"), answer.classes);
  showShares($("shares"), answer.classes);
  showFacts($("facts"), answer, roundTrip);
  for (const id of ["opacity-row", "result", "shares"]) $(id).hidden = false;
  $("status").textContent = `${summary(answer)} It took ${milliseconds(roundTrip)}.`;
  $("stage").scrollIntoView({ block: "nearest" });
}

function maskBytes({ mask }) {
  const text = atob(mask.slice(mask.indexOf(",") + 1));
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

function setOpacity() {
  const { value } = $("opacity");
  $("mask").style.opacity = value / 100;
  $("opacity-value").textContent = wholePercent(value / 100);
}

// Models

function chosenModel() {
  return $("model").value || undefined; // before the list is there: the service's default
}

function showModelLegend() {
  const card = cards.get(chosenModel());
  if (card) showLegend($("legend"), card.classes);
}

async function loadModels() {
  const { models, default: preferred } = await listModels();
  for (const card of models) cards.set(card.name, card);
  $("model").replaceChildren(...models.map(({ name }) => new Option(name, name, name === preferred, name === preferred)));
  $("model-row").hidden = models.length < 2;
  if (!answer) showModelLegend();
}

async function start() {
  try {
    await loadModels();
  } catch (error) {
    again = start;
    showProblem(error);
  }
}

// Downloads

const downloads = {
  mask: () => new Blob([maskBytes(answer)], { type: "image/png" }),
  json: () => new Blob([JSON.stringify(answer, null, 2)], { type: "application/json" }),
  overlay: drawOverlay,
};
const endings = { mask: "mask.png", json: "segmentation.json", overlay: "overlay.jpg" };

/** Just what is on show, so that the file looks like the page. */
function drawOverlay() {
  const { width, height } = answer.image;
  const scale = Math.min(1, Math.sqrt(CANVAS_PIXELS / (width * height)));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.floor(width * scale));
  canvas.height = Math.max(1, Math.floor(height * scale));
  const context = canvas.getContext("2d");
  if (!$("picture").hidden) context.drawImage($("picture"), 0, 0, canvas.width, canvas.height);
  context.globalAlpha = $("opacity").value / 100;
  context.drawImage($("mask"), 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    const done = (blob) => (blob ? resolve(blob) : reject(new Error("The image is too large for this browser to draw.")));
    canvas.toBlob(done, "image/jpeg", 0.92);
  });
}

function download(kind) {
  return busyWith("Preparing the file", async () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await downloads[kind]());
    link.download = `${image.name.replace(/\.[^.]*$/, "")}-${endings[kind]}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), REVOKE_AFTER_MS);
    $("status").textContent = `${link.download} is ready`;
  });
}

// Where images come from

/** Loading it is part of the task: a sample that arrives late must not replace a photo chosen meanwhile. */
function runSample(name) {
  return busyWith(`Segmenting ${name}`, async (signal) => {
    const response = await fetch(`static/samples/${name}`, { signal }).catch(() => null);
    if (!response?.ok) throw new Problem("The sample is not there", "Is the service still running?");
    await show(new File([await response.blob()], name, { type: "image/jpeg" }), signal);
  });
}

/** What a DataTransfer, dropped or pasted, has of files. */
function take({ files, items }) {
  if (running) {
    if (!files.length) return;
    $("busy-text").textContent = $("status").textContent = "One photo at a time: still working on the last one";
  } else if ([...items].some((item) => item.webkitGetAsEntry()?.isDirectory)) { // it is among the files, but cannot be read
    refuse("A folder cannot be sent", "Drop one of the photos in it.");
  } else if (files.length) {
    run(files[0]);
  } else {
    refuse("That was not a file", "Save the image and drop its file, or copy it and paste it.");
  }
}

function refuse(title, detail) {
  again = null;
  showProblem(new Problem(title, detail));
}

$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  $("file").value = ""; // so that the same file can be chosen again
  if (file) run(file);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) take(event.clipboardData);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("is-dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("is-dragging"); // it left the window
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("is-dragging");
  take(event.dataTransfer);
});

for (const button of document.querySelectorAll("[data-sample]")) {
  button.addEventListener("click", () => runSample(button.dataset.sample));
}
for (const button of document.querySelectorAll("[data-download]")) {
  button.addEventListener("click", () => download(button.dataset.download));
}
$("opacity").addEventListener("input", setOpacity);
$("cancel").addEventListener("click", () => running?.abort());
$("retry").addEventListener("click", () => again?.());
$("model").addEventListener("change", () => (image ? run(image) : showModelLegend()));
$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const failed = again;
  useKey($("key").value);
  showProblem(null);
  if (!cards.size) await start();
  if (failed !== start) failed?.();
});

setOpacity();
start();
