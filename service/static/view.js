// From an answer of the service to elements on the page. Text only ever enters as text, never as markup.

const integer = new Intl.NumberFormat();
const percentage = new Intl.NumberFormat(undefined, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const roundPercentage = new Intl.NumberFormat(undefined, { style: "percent" });
const SMALLEST_SHOWN = 0.0005; // below it one decimal would say 0.0 %

export function percent(fraction) {
  return fraction > 0 && fraction < SMALLEST_SHOWN ? `<\u2009${percentage.format(0.001)}` : percentage.format(fraction);
}

export function wholePercent(fraction) {
  return roundPercentage.format(fraction);
}

export function milliseconds(value) {
  return value < 1000 ? `${integer.format(Math.round(value))} ms` : `${(value / 1000).toFixed(1)} s`;
}

/** What a screen reader says when the result arrives. */
export function summary(answer) {
  const found = byArea(answer.classes).filter((entry) => entry.pixels);
  const areas = found.map((entry) => `${entry.name} ${percent(entry.fraction)}`).join(", ");
  return `Found ${areas}; image of ${answer.image.width} by ${answer.image.height} pixels.`;
}

/** Fill the legend: the classes of a model (no numbers yet) or of an answer (largest first, absent ones dimmed). */
export function showLegend(table, classes) {
  const rows = byArea(classes).map((entry) => {
    const name = element("th", "", element("span", "class", swatch(entry.color), element("span", "", entry.name)));
    name.scope = "row";
    const row = element("tr", entry.pixels === 0 ? "absent" : "", name);
    row.dataset.class = entry.id;
    if (entry.pixels !== undefined) {
      row.append(
        element("td", "", integer.format(entry.pixels)),
        element("td", "", percent(entry.fraction)),
        element("td", "", entry.confidence == null ? "–" : wholePercent(entry.confidence)),
      );
    }
    return row;
  });
  table.tBodies[0].replaceChildren(...rows);
  table.classList.toggle("measured", classes.some((entry) => entry.pixels !== undefined));
  table.querySelector("#total").textContent = integer.format(classes.reduce((sum, entry) => sum + (entry.pixels ?? 0), 0));
  table.querySelector("#whole").textContent = wholePercent(1);
  table.tFoot.hidden = !table.classList.contains("measured");
}

export function showShares(bar, classes) {
  const parts = byArea(classes).filter((entry) => entry.pixels).map((entry) => {
    const part = element("span");
    part.style.flexGrow = entry.fraction;
    part.style.backgroundColor = entry.color;
    part.title = `${entry.name} ${percent(entry.fraction)}`;
    return part;
  });
  bar.replaceChildren(...parts);
}

export function showFacts(list, answer, roundTrip) {
  const { image, model, timings_ms: timings } = answer;
  const steps = Object.entries(timings).map(([step, value]) => `${step} ${Math.round(value)}`);
  const facts = {
    Image: `${integer.format(image.width)} × ${integer.format(image.height)} pixels`,
    Model: model.name,
    "Runs on": `${model.device === "cuda" ? "GPU" : "CPU"}, ${model.precision}`,
    Time: `${milliseconds(roundTrip)} (${steps.join(", ")})`,
  };
  list.replaceChildren(...Object.entries(facts).flatMap(([name, text]) => [element("dt", "", name), element("dd", "", text)]));
}

function byArea(classes) {
  return [...classes].sort((one, other) => (other.pixels ?? 0) - (one.pixels ?? 0) || one.id - other.id);
}

function swatch(color) {
  const box = element("span", "swatch");
  box.style.backgroundColor = color; // through the object model: the page's policy allows no inline style
  return box;
}

function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}
