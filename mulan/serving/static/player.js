// The player: every recording of the page has a play button and a waveform, and one recording is heard at a time.

import { clock, segment, svg } from "./dom.js";

const WIDTH = 200, HEIGHT = 40; // of the drawing of a waveform, in its own units
const SKIP_S = 5;

const audio = document.getElementById("player");
let current = null; // the recording that is loaded

/** A recording on the page: the list item that the server has rendered, with controls of our own. */
class Item {
  constructor(element) {
    const data = element.dataset;
    this.element = element;
    this.id = data.id;
    this.title = element.querySelector("h3").textContent;
    this.start = Number(data.start); // like all positions, in seconds from the start of the recording
    this.offset = Number(data.offset); // where that is in the audio file
    this.duration = Number(data.duration);
    this.address = data.audio;
    this.button = element.querySelector(".play");
    this.button.hidden = false;
    this.button.addEventListener("click", () => toggle(this));
    this.slider = this.makeSlider(data);
    element.querySelector(".heard").replaceChildren(this.slider);
    this.show(false, null);
  }

  makeSlider({ waveform, moment }) {
    const values = waveform ? waveform.split(" ").map(Number) : [0];
    const step = WIDTH / values.length;
    const shape = values.map((value, index) => {
      const half = Math.max(0.6, (value / 255) * (HEIGHT / 2 - 1)); // silence is a thin line
      return `M${((index + 0.5) * step).toFixed(2)} ${(HEIGHT / 2 - half).toFixed(1)}v${(2 * half).toFixed(1)}`;
    }).join("");
    const width = (0.62 * step).toFixed(2);
    const bars = () => svg("path", { d: shape, "stroke-width": width });
    // an inner drawing clips what has been heard to its width
    this.heard = svg("svg", { class: "past", width: 0, height: HEIGHT }, bars());
    const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" }, bars(), this.heard);
    if (moment !== undefined && this.duration > 0) {
      const x = Math.min(WIDTH - 1, Math.max(1, (WIDTH * Number(moment)) / this.duration));
      drawing.append(svg("path", { class: "moment", d: `M${x} 0v${HEIGHT}` }));
    }
    drawing.setAttribute("aria-hidden", "true");
    const slider = document.createElement("div");
    slider.className = "slider";
    slider.tabIndex = 0;
    for (const [name, value] of Object.entries({
      role: "slider", "aria-label": `Position in ${this.title}`, "aria-valuemin": 0, "aria-valuemax": this.duration,
    })) slider.setAttribute(name, value);
    slider.append(drawing);
    slider.addEventListener("click", (event) => {
      const box = slider.getBoundingClientRect();
      play(this, (this.duration * (event.clientX - box.left)) / box.width);
    });
    slider.addEventListener("keydown", (event) => this.onKey(event));
    return slider;
  }

  onKey(event) {
    const now = current === this ? position() : this.start;
    const targets = {
      ArrowLeft: now - SKIP_S, ArrowDown: now - SKIP_S, ArrowRight: now + SKIP_S, ArrowUp: now + SKIP_S,
      PageDown: now - this.duration / 10, PageUp: now + this.duration / 10, Home: 0, End: this.duration - SKIP_S,
    };
    if (event.key === " " || event.key === "Enter") toggle(this);
    else if (event.key in targets) play(this, targets[event.key]);
    else return;
    event.preventDefault();
  }

  /** Shows whether the recording is heard, and the position in seconds; null before it has been. */
  show(isPlaying, position) {
    this.element.classList.toggle("playing", isPlaying);
    const from = position === null && this.start ? ` from ${clock(this.start)}` : "";
    this.button.setAttribute("aria-label", `${isPlaying ? "Pause" : "Play"} ${this.title}${from}`);
    const share = this.duration ? Math.min(1, (position ?? 0) / this.duration) : 0;
    this.heard.setAttribute("width", (WIDTH * share).toFixed(2));
    const at = position ?? this.start;
    this.slider.setAttribute("aria-valuenow", at.toFixed(1));
    this.slider.setAttribute("aria-valuetext", `${clock(at)} of ${clock(this.duration)}`);
    const length = clock(this.duration);
    this.element.querySelector(".time").textContent = position === null ? length : `${clock(position)} of ${length}`;
  }

  /** Says why the recording cannot be heard. */
  async fail() {
    const message = document.createElement("p");
    message.className = "fault";
    message.setAttribute("role", "alert");
    message.append(...(await reasons(this.address)));
    this.element.querySelector(".heard").replaceChildren(this.slider, message);
  }
}

/** Returns why the browser has refused an audio file, which it does not say itself, as texts and links. */
async function reasons(address) {
  try {
    const answer = await fetch(address, { headers: { Range: "bytes=0-0" } });
    answer.body?.cancel();
    if (!answer.ok) return [`The server cannot send this recording: status ${answer.status}.`];
  } catch {
    return ["The server cannot be reached. It may have been stopped, or the network is down: try again in a moment."];
  }
  const link = document.createElement("a");
  link.href = address;
  link.download = "";
  link.textContent = "Download the file";
  return ["This browser cannot play this recording. ", link, " to hear it in another program."];
}

/** Gives all recordings in a part of the page their controls. */
export function addControls(part) {
  for (const element of part.querySelectorAll(".hit")) element.item = new Item(element);
}

/** Plays a recording from a moment in seconds. */
export function play(item, from) {
  if (current !== item) {
    current?.show(false, null);
    current = item;
    audio.src = item.address;
    item.element.querySelector(".heard > .fault")?.remove();
    document.dispatchEvent(new CustomEvent("heard", { detail: item.id }));
  }
  audio.currentTime = item.offset + Math.max(0, Math.min(from, item.duration));
  start();
}

/** Returns the position in the recording that is loaded, in seconds. */
function position() {
  return Math.max(0, audio.currentTime - current.offset);
}

/** Returns whether the recording has been heard to its end, after which its file may go on. */
function isOver() {
  return audio.ended || (current.offset > 0 && position() >= current.duration);
}

/** Stops if the recording that is heard is no longer on the page. */
export function stopIfGone() {
  if (current === null || current.element.isConnected) return;
  current = null;
  audio.pause();
  audio.removeAttribute("src");
  audio.load();
}

function toggle(item) {
  if (current !== item || isOver()) play(item, item.start);
  else if (audio.paused) start();
  else audio.pause();
}

function start() {
  // rejected if another recording follows at once, or if it cannot be played: "error" reports the latter
  audio.play().catch(() => {});
}

function follow() {
  if (current === null) return;
  if (isOver()) audio.pause();
  current.show(!audio.paused && !audio.ended, position());
  if (!audio.paused) requestAnimationFrame(follow);
}

for (const event of ["play", "pause", "ended", "seeked"]) audio.addEventListener(event, follow);
audio.addEventListener("error", () => {
  if (current === null || !audio.hasAttribute("src")) return;
  current.show(false, null);
  current.fail();
  current = null;
});
