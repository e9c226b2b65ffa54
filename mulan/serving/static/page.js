// The page of the search server: searches without loading the page again. All of it also works without this script,
// except for the search by a sound and the map.

import { announce, byId, copyOf } from "./dom.js";
import { setUpMap } from "./map.js";
import { addControls, stopIfGone } from "./player.js";
import { setUpSound } from "./sound.js";

const TIMEOUT_MS = 60_000;
const TITLE = "Music search";

const form = byId("search"), results = byId("results");
let request = null; // the newest one, of which alone the answer is shown
const sounds = new Map(); // those searched by, for the way back; an address cannot contain them
let sound = null; // key of the one that is searched by; unlike a number, no other visit of the page has the same

/** Fetches what replaces the results, and shows it; `moves` says whether the focus moves there. */
async function fetchResults(params, { moves = false, ...options } = {}) {
  request?.abort();
  const mine = (request = new AbortController());
  const timer = setTimeout(() => mine.abort(new DOMException("", "TimeoutError")), TIMEOUT_MS);
  results.setAttribute("aria-busy", "true");
  announce("Searching");
  let found;
  try {
    const answer = await fetch(`/results?${params}`, { ...options, signal: mine.signal });
    found = part(await answer.text())
      ?? fault(`The server answered with status ${answer.status}. Try again in a moment.`);
  } catch (error) {
    found = fault(
      error.name === "TimeoutError"
        ? `The server has not answered for ${TIMEOUT_MS / 1000} seconds. It may be busy: try again in a moment.`
        : "The server cannot be reached. It may have been stopped, or the network is down: try again in a moment.",
    );
  } finally {
    clearTimeout(timer);
  }
  if (request === mine) show(found, moves);
}

/** Returns the results in an answer of the server; null if something else, such as a proxy, has answered. */
function part(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.querySelector(".found");
}

function fault(reason) {
  const section = copyOf("fault");
  section.querySelector("p").textContent = reason;
  return section;
}

function show(found, moves = false) {
  results.replaceChildren(found);
  results.removeAttribute("aria-busy");
  stopIfGone();
  addControls(found);
  const heading = found.querySelector("h2");
  if (moves) heading.focus();
  const title = found.dataset.title;
  document.title = title ? `${title} – ${TITLE}` : TITLE;
  const summary = found.querySelector(".summary");
  announce(summary ? `${heading.textContent}: ${summary.textContent}` : ""); // a fault announces itself
  const ids = [...found.querySelectorAll(".hit")].map((hit) => hit.dataset.id);
  document.dispatchEvent(new CustomEvent("found", { detail: ids }));
}

/** Shows a fault in place of the results. */
function fail(reason) {
  request?.abort();
  request = null;
  show(fault(reason));
}

/** Fills the form with a query. */
function fill(params) {
  for (const name of ["q", "not", "like"]) {
    const values = params.getAll(name);
    [...form.querySelectorAll(`[name="${name}"]`)].forEach((field, index) => (field.value = values[index] ?? ""));
  }
  for (const field of unshown()) {
    field.value = params.get(field.name) ?? "";
    field.disabled = !field.value; // else the form would send an empty one
  }
  const tags = params.getAll("tag"), boxes = [...form.querySelectorAll('[name="tag"][type="checkbox"]')];
  for (const box of boxes) box.checked = tags.includes(box.value);
  const known = new Set(boxes.map((box) => box.value)); // the most frequent tags; recordings have others too
  byId("rare").replaceChildren(...tags.filter((tag) => !known.has(tag)).map(hiddenTag));
}

function hiddenTag(tag) {
  const field = document.createElement("input");
  Object.assign(field, { type: "hidden", name: "tag", value: tag });
  return field;
}

/** Returns the fields that keep parameters which nothing on the page shows, such as the number of hits. */
const unshown = () => form.querySelectorAll(".unshown");

/** Returns the query of the form, without its empty fields. */
const filled = () => new URLSearchParams([...new FormData(form)].filter(([, value]) => value.trim()));

/** Searches: by the sound with a key, or by the query alone. */
function search(params, key = null, moves = false) {
  sound = key;
  fill(params);
  if (key === null) return fetchResults(params, { moves });
  const file = sounds.get(key);
  const asked = new URLSearchParams([...params.entries(), ["sound", file.name]]);
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  return fetchResults(asked, { moves, method: "POST", body: file, headers });
}

/** Searches, and makes a step of the browser's history of it. */
function go(params, moves = false) {
  const asks = ["q", "not", "like"].some((name) => params.has(name));
  const key = asks ? null : sound; // a sound stays until something else is asked for
  const address = String(params) ? `/?${params}` : "/";
  const isSame = address === location.pathname + location.search && key === (history.state?.sound ?? null);
  history[isSame ? "replaceState" : "pushState"]({ sound: key }, "", address); // Back is not to show the same again
  return search(params, key, moves);
}

function setUpSearch() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(filled());
  });
  form.addEventListener("change", (event) => {
    if (event.target.name === "tag") go(filled());
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="/?"]');
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    // links in the results vanish with them, and those below the map are far from them
    go(new URLSearchParams(link.search), link.closest("#results, #chosen") !== null);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input")) return;
    event.preventDefault();
    byId("q").select();
    byId("q").focus();
  });
  window.addEventListener("popstate", (event) => {
    // the sounds are gone once the page has been left
    const key = event.state?.sound ?? null;
    search(new URLSearchParams(location.search), sounds.has(key) ? key : null);
  });
}

document.documentElement.classList.add("scripted");
if (form) {
  addControls(results);
  setUpSearch();
  setUpSound((file) => {
    const params = filled();
    for (const name of ["q", "not", "like"]) params.delete(name);
    sound = `${performance.timeOrigin}-${sounds.size}`;
    sounds.set(sound, file);
    go(params);
  }, fail);
  setUpMap();
}
