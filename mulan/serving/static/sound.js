// The search by a sound: a chosen or dropped file, or a recording from the microphone.

import { announce, byId } from "./dom.js";

const MAX_RECORDING_S = 15;

const REFUSALS = {
  NotAllowedError: "The microphone may not be used: allow it for this page in the browser's settings.",
  NotFoundError: "No microphone was found.",
};
const UNSUPPORTED = "This browser cannot record. Record a file with another program, and choose it.";
const INSECURE = "Browsers lend the microphone only to pages at https:// addresses and at http://localhost. " +
  "Open this page at one, or choose a file.";

/**
 * Sets up the search by a sound.
 *
 * @param search Called with a file.
 * @param fail Called with the reason why there is none.
 */
export function setUpSound(search, fail) {
  const part = byId("sound");
  part.hidden = false;
  const maxBytes = Number(part.dataset.maxBytes);

  function take(file) {
    if (file.size > maxBytes) {
      fail(`“${file.name}” is larger than ${maxBytes / 1e6} MB. Choose a shorter part of it.`);
    } else if (file.size === 0) {
      fail(`“${file.name}” is empty.`);
    } else {
      search(file);
    }
  }

  const input = byId("file");
  input.addEventListener("change", () => {
    if (input.files.length) take(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  setUpDropping(take);
  setUpRecording(take, fail);
}

function setUpDropping(take) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault(); // else the browser would open the file
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}

function setUpRecording(take, fail) {
  const button = byId("record"), counter = byId("counter");
  let recorder = null;

  function count(begun) {
    if (recorder === null) return;
    const seconds = (performance.now() - begun) / 1000;
    counter.textContent = `${Math.floor(seconds)} of ${MAX_RECORDING_S} s`;
    if (seconds >= MAX_RECORDING_S) recorder.stop();
    else setTimeout(count, 200, begun);
  }

  function end(stream) {
    for (const track of stream.getTracks()) track.stop();
    recorder = null;
    counter.textContent = "";
    button.textContent = "Record";
    button.classList.remove("recording");
  }

  async function begin() {
    if (!window.isSecureContext) return fail(INSECURE);
    if (!navigator.mediaDevices || !window.MediaRecorder) return fail(UNSUPPORTED);
    button.disabled = true;
    let stream;
    try {
      // what browsers do to make speech clear would distort music
      const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      return fail(REFUSALS[error.name] ?? `The microphone does not work: ${error.message}`);
    } finally {
      button.disabled = false;
    }
    const parts = [];
    recorder = new MediaRecorder(stream);
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    recorder.addEventListener("stop", () => {
      const type = recorder.mimeType;
      end(stream);
      take(new File(parts, "your recording", { type }));
    });
    recorder.start();
    button.textContent = "Stop and search";
    button.classList.add("recording");
    button.focus();
    announce("Recording");
    count(performance.now());
  }

  button.addEventListener("click", () => (recorder === null ? begin() : recorder.stop()));
}
