// What several modules need: finding and making elements, and writing moments and addresses.

export const byId = (id) => document.getElementById(id);

/** Returns a copy of the content of a template of the page. */
export const copyOf = (id) => byId(id).content.firstElementChild.cloneNode(true);

/** Returns a new element of SVG. */
export function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Returns seconds as on a clock: 3:05. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds || 0));
  const parts = [Math.floor(whole / 60) % 60, whole % 60];
  const hours = Math.floor(whole / 3600);
  if (hours) parts.unshift(hours);
  return parts.map((part, index) => (index ? String(part).padStart(2, "0") : part)).join(":");
}

/** Returns a text as one part of a path. Ids may contain lone surrogates, which no address can. */
export const segment = (text) => encodeURIComponent(text.toWellFormed?.() ?? text);

/** Says something to screen readers. */
export function announce(text) {
  byId("status").textContent = text;
}
