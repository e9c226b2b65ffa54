// The map of the collection: a canvas of points that are heard when they are clicked, or chosen with the keyboard.

import { byId, copyOf, segment } from "./dom.js";
import { addControls, play } from "./player.js";

const MAX_COLOURS = 8; // groups beyond share one colour, since more cannot be told apart
const MARGIN = 14, REACH = 18; // px: around the points, and from a click to its point

const canvas = byId("canvas"), details = byId("map");
let points = [], groups = []; // the groups that have a colour
let pointed = null; // the point under the pointer, or that of the keyboard
let heard = ""; // id of the recording that is heard
let isolated = null; // number of the group that is shown alone
let found = new Set(); // ids of the hits of the newest search

/** Sets up the map, which is loaded when it is opened. */
export function setUpMap() {
  details.hidden = false;
  let isLoaded = false;
  details.addEventListener("toggle", async () => {
    if (!details.open || isLoaded) return;
    isLoaded = true;
    isLoaded = await load();
  });
  found = new Set([...document.querySelectorAll("#results .hit")].map((hit) => hit.dataset.id));
  document.addEventListener("found", (event) => {
    found = new Set(event.detail);
    draw();
  });
  document.addEventListener("heard", (event) => {
    heard = event.detail;
    draw();
  });
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  canvas.addEventListener("pointermove", (event) => point(nearest(event)));
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("click", (event) => {
    const target = nearest(event);
    point(target);
    if (target) choose(target);
  });
  canvas.addEventListener("focus", draw);
  canvas.addEventListener("blur", draw);
  canvas.addEventListener("keydown", onKey);
}

async function load() {
  say("Loading");
  try {
    const answer = await fetch("/api/map");
    if (!answer.ok) throw new Error(answer.status);
    const map = await answer.json();
    points = map.points;
    setUpLegend(map.category);
    say(points.length ? "" : "No recording is on the map.");
    draw();
    return true;
  } catch {
    say("The map could not be loaded. Close and open it to try again.");
    return false;
  }
}

function say(text) {
  byId("pointed").textContent = text;
}

function setUpLegend(category) {
  const sizes = new Map();
  for (const { group } of points) if (group) sizes.set(group, (sizes.get(group) ?? 0) + 1);
  groups = [...sizes.keys()].sort((a, b) => sizes.get(b) - sizes.get(a)).slice(0, MAX_COLOURS);
  const others = points.filter(({ group }) => !groups.includes(group)).length;
  const entries = groups.map((group, index) => [group, index, sizes.get(group)]);
  if (groups.length && others) entries.push(["others", MAX_COLOURS, others]);
  const legend = byId("legend");
  legend.setAttribute("aria-label", `Show only one ${category || "group"}`);
  legend.replaceChildren(...entries.map(([name, index, size]) => {
    const item = document.createElement("li"), button = document.createElement("button");
    const swatch = document.createElement("i"), number = document.createElement("small");
    swatch.className = `group-${index}`;
    number.textContent = size.toLocaleString("en");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.append(swatch, name, " ", number);
    button.addEventListener("click", () => {
      isolated = isolated === index ? null : index;
      for (const each of legend.querySelectorAll("button")) {
        each.setAttribute("aria-pressed", String(each === button && isolated !== null));
      }
      draw();
    });
    item.append(button);
    return item;
  }));
}

const colourOf = ({ group }) => (groups.includes(group) ? groups.indexOf(group) : MAX_COLOURS);
const within = (share, size) => MARGIN + share * (size - 2 * MARGIN);
const place = ({ x, y }) => [within(x, canvas.clientWidth), within(y, canvas.clientHeight)];
const shown = () => points.filter((each) => isolated === null || colourOf(each) === isolated);

function draw() {
  if (!details.open || !canvas.clientWidth) return;
  const style = getComputedStyle(canvas), scale = window.devicePixelRatio || 1;
  const colours = Array.from({ length: MAX_COLOURS + 1 }, (_, index) => style.getPropertyValue(`--group-${index}`));
  const ink = style.getPropertyValue("--ink"), paper = style.getPropertyValue("--paper");
  canvas.width = Math.round(canvas.clientWidth * scale);
  canvas.height = Math.round(canvas.clientHeight * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const radius = points.length > 800 ? 2.5 : points.length > 150 ? 3.5 : 5;

  function disc(each, size) {
    context.beginPath();
    context.arc(...place(each), size, 0, 2 * Math.PI);
  }

  for (const each of points) {
    const colour = colourOf(each);
    context.globalAlpha = isolated === null || colour === isolated ? 0.85 : 0.12;
    context.fillStyle = colours[colour];
    disc(each, radius);
    context.fill();
  }
  context.globalAlpha = 1;
  for (const each of points.filter(({ recording_id }) => found.has(recording_id))) {
    // the ring has a border of its own, so that it is seen between many points
    for (const [width, colour] of [[4, paper], [1.5, ink]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      disc(each, radius + 3.5);
      context.stroke();
    }
    context.fillStyle = colours[colourOf(each)];
    disc(each, radius + 1);
    context.fill();
  }
  context.strokeStyle = ink;
  for (const each of points.filter((each) => each === pointed || each.recording_id === heard)) {
    context.fillStyle = colours[colourOf(each)];
    context.lineWidth = 2.5;
    disc(each, radius + 4);
    context.fill();
    context.stroke();
  }
}

function nearest({ offsetX, offsetY }) {
  const distance = (each) => Math.hypot(place(each)[0] - offsetX, place(each)[1] - offsetY);
  const best = shown().reduce((a, b) => (a && distance(a) <= distance(b) ? a : b), null);
  return best && distance(best) <= REACH ? best : null;
}

/** Points at a recording, and shows its title. */
function point(target) {
  if (target === pointed) return;
  pointed = target;
  say(target ? [target.title, target.group].filter(Boolean).join(" · ") : "");
  canvas.classList.toggle("over", target !== null);
  draw();
}

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function onKey(event) {
  const from = pointed ?? points.find(({ recording_id }) => recording_id === heard);
  if (event.key in DIRECTIONS) point(from ? next(from, DIRECTIONS[event.key]) ?? from : shown()[0] ?? null);
  else if ((event.key === "Enter" || event.key === " ") && from) choose(from);
  else return;
  event.preventDefault();
}

/** Returns the nearest recording in a direction; those aside count as further away. */
function next(from, [dx, dy]) {
  const [x, y] = place(from);
  let best = null, least = Infinity;
  for (const each of shown()) {
    const [a, b] = place(each);
    const along = (a - x) * dx + (b - y) * dy, aside = Math.abs((a - x) * dy + (b - y) * dx);
    const cost = along + 2 * aside;
    if (along > 0 && aside <= 2 * along && cost < least) [best, least] = [each, cost];
  }
  return best;
}

let chosen = null; // the newest one

/** Plays a recording of the map, and shows it below the map. */
async function choose(target) {
  chosen = target;
  const list = byId("chosen");
  try {
    const answer = await fetch(`/api/recordings/${segment(target.recording_id)}`);
    if (!answer.ok) throw new Error(answer.status);
    const recording = await answer.json();
    if (chosen !== target) return; // another one has been chosen meanwhile
    list.replaceChildren(card(recording));
    addControls(list);
    play(list.firstElementChild.item, 0);
  } catch {
    if (chosen === target) say(`“${target.title}” could not be loaded. Try again in a moment.`);
  }
}

function card(recording) {
  const element = copyOf("hit");
  const { recording_id: id, title, artist, duration_s: duration, offset_s: offset, waveform, audio, tags } = recording;
  Object.assign(element.dataset, { id, duration, offset, waveform: waveform.join(" "), audio });
  element.querySelector("h3").textContent = title;
  element.querySelector(".artist").textContent = artist;
  element.querySelector(".score").textContent = tags.slice(0, 8).map((tag) => tag.replace(":", ": ")).join(", ");
  const like = element.querySelector(".like");
  like.href = `/?${new URLSearchParams({ like: id })}`;
  like.setAttribute("aria-label", `More like ${title}`);
  return element;
}
