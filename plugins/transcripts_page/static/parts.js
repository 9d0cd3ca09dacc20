// The parts that several views have: chips, tiles, states, paths, messages, dialogs.

import { download } from "./theme.js";
import { fill, h } from "./dom.js";
import { count } from "./format.js";

/** An address of this page with these parameters. */
export const here = (parameters) => {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return `?${new URLSearchParams(given)}`;
};

/** A link to another view of this page. */
export const go = (parameters, attributes, ...children) => h("a", { ...attributes, href: here(parameters), "data-go": true }, ...children);

export const button = (label, action, attributes = {}) => h("button", { type: "button", ...attributes, on: { click: action } }, label);

export const downloadButton = (label, url) =>
  h("a", { class: "button", href: url, on: { click: (event) => { event.preventDefault(); download(url); } } }, label);

const CHIPS = {
  transcribed: ["good", "Transcribed"],
  rejected: ["warn", "Rejected"],
  missing: ["bad", "Missing"],
  replaced: ["", "Replaced"],
  running: ["live", "Running"],
  queued: ["live", "Queued"],
  done: ["good", "Done"],
  failed: ["bad", "Failed"],
  dry: ["", "Dry run"],
  nothing: ["", "Nothing to do"],
};

export function chip(kind) {
  const [tone, label] = CHIPS[kind];
  return h("span", { class: `chip ${tone}` }, label);
}

export const tiles = (...pairs) =>
  h("dl", { class: "tiles" }, pairs.filter(Boolean).map(([label, value, note]) =>
    h("div", { class: "tile" }, h("dt", {}, label), h("dd", {}, value, note ? h("small", {}, ` ${note}`) : null))));

export const nothing = (title, text, ...actions) =>
  h("div", { class: "nothing" }, h("h2", {}, title), h("p", {}, text), actions.length ? h("div", { class: "row" }, ...actions) : null);

export const notice = (tone, ...children) => h("div", { class: `notice ${tone}` }, h("div", {}, ...children));

export const waiting = () => h("div", { class: "waiting", role: "status" }, h("span", { class: "hidden" }, "Loading"));

export const path = (...steps) => h("nav", { "aria-label": "Path" }, h("ol", { class: "path" }, steps.map((step) => h("li", {}, step))));

/** What a failed request leaves on the page. */
export function failure(error, again) {
  const title = error.status === 401 ? "You are signed out" : error.status === 403 ? "You may not see this" : "This did not work";
  return nothing(title, error.message, again && error.status !== 401 ? button("Try again", again) : null);
}

/** A number that stands out if it is not zero. */
export const warned = (number, tone) => h("span", { class: number ? `has-${tone}` : "zero" }, count(number));

/** Say something in the corner of the page, also to screen readers. */
export function say(text) {
  const message = h("div", { class: "message" }, text);
  document.getElementById("messages").append(message);
  setTimeout(() => message.remove(), 8000);
}

/** Open a dialog. Escape and its own buttons close it; then it is gone. Returns the dialog. */
export function openDialog(title, ...content) {
  const heading = h("h2", { id: "dialog-title" }, title);
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, h("div", { class: "body" }, heading, ...content));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Do something while a button shows that it works; errors go to `problem`. */
export async function busy(pressed, problem, work) {
  pressed.disabled = true;
  fill(problem);
  try {
    return await work();
  } catch (error) {
    fill(problem, notice("bad", error.message));
    return undefined;
  } finally {
    pressed.disabled = false;
  }
}

/** Buttons to the rows before and after; null if all rows are shown. */
export function pager(offset, shown, total, step, show) {
  if (total <= step) return null;
  return h("div", { class: "pager" },
    h("span", {}, `${count(offset + 1)} to ${count(offset + shown)} of ${count(total)}`),
    h("span", { class: "row" },
      button("Previous", () => show(Math.max(0, offset - step)), { disabled: offset === 0 }),
      button("Next", () => show(offset + step), { disabled: offset + shown >= total })));
}
