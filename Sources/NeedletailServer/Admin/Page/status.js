// Asks for the page again every two seconds and changes what has changed. The server writes every word of
// it, escaped; nothing here makes HTML of text. A document parsed by DOMParser runs no script, and the
// page's policy allows none but this file.
"use strict";

const REFRESH_MS = 2000;
const TIMEOUT_MS = 5000;
let paused = false;
let timer;

/** Makes `old` equal to `next` and keeps every node that can stay: focus, selection and scroll survive. */
function morph(old, next) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const keyed = new Map();
  for (const child of old.children) if (child.id) keyed.set(child.id, child);
  let place = old.firstChild;
  for (const wanted of next.childNodes) {
    const kept = wanted.id ? keyed.get(wanted.id) : fits(place, wanted) ? place : null;
    if (kept) {
      if (kept === place) place = place.nextSibling;
      else old.insertBefore(kept, place);
      morph(kept, wanted);
    } else {
      old.insertBefore(document.importNode(wanted, true), place);
    }
  }
  while (place) {
    const rest = place.nextSibling;
    place.remove();
    place = rest;
  }
}

function fits(old, next) {
  return old !== null && old.nodeName === next.nodeName && !old.id && !next.id;
}

function tell(text) {
  const line = document.getElementById("connection");
  // Said once: a screen reader repeats whatever is set.
  if (line.textContent !== text) line.textContent = text;
}

let lastAnswer = new Date();

async function refresh() {
  clearTimeout(timer);
  try {
    const response = await fetch("./", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const next = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const id of ["top", "main"]) morph(document.getElementById(id), next.getElementById(id));
    const asOf = document.querySelector("#foot time");
    if (asOf) morph(asOf, next.querySelector("#foot time"));
    document.title = next.title;
    lastAnswer = new Date();
    document.body.classList.remove("stale");
  } catch {
    document.body.classList.add("stale");
    tell(`No answer since ${lastAnswer.toLocaleTimeString()}: what stands here is old.`);
    document.title = "no answer · needletail";
  }
  if (!paused) timer = setTimeout(refresh, document.hidden ? 5 * REFRESH_MS : REFRESH_MS);
}

function addPauseButton() {
  const button = document.createElement("button");
  button.type = "button";
  const show = () => {
    button.textContent = paused ? "Resume" : "Pause";
    button.setAttribute("aria-pressed", String(paused));
  };
  button.addEventListener("click", () => {
    paused = !paused;
    show();
    if (paused) clearTimeout(timer);
    else refresh();
  });
  show();
  document.getElementById("foot").append(button);
}

addPauseButton();
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !paused) refresh();
});
timer = setTimeout(refresh, REFRESH_MS);
