// How far a running run is.

import { h } from "./dom.js";
import { clock, count, counted, hours } from "./format.js";

const ORDER = ["waiting", "starting", "running", "done", "failed"];

/** A bar, with the numbers beside it. `brief` is for a row of a table. */
export function progressBar({ plan, job, done, end }, { brief = false } = {}) {
  if (!plan) return h("span", { class: "muted" }, "Planning…");
  const part = done?.of_audio_hours ? done.audio_hours / done.of_audio_hours : done?.of_files ? done.files / done.of_files : childrenDone(job);
  const bar = h("div", {
    class: "bar", role: "progressbar", "aria-label": "Progress of the run",
    "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(100 * part),
  }, h("span"));
  bar.firstChild.style.width = `${Math.max(1, 100 * part)}%`;
  const files = done ? `${count(done.files)} of ${counted(done.of_files, "recording")}` : counted(plan.files, "recording");
  if (brief) return h("div", {}, h("span", {}, files), bar);
  return h("div", { class: "list" },
    h("div", { class: "row apart" }, h("strong", {}, files), h("span", { class: "muted" }, end ? `ends at about ${clock(end)}` : waitsFor(job))),
    bar,
    h("div", { class: "row muted small" },
      done ? h("span", {}, `${hours(done.audio_hours)} of ${hours(done.of_audio_hours)} of audio`) : null,
      h("span", {}, childrenLine(job))));
}

function childrenDone(job) {
  const children = job?.children || {};
  const total = Object.values(children).reduce((sum, number) => sum + number, 0);
  return total ? ((children.done || 0) + (children.failed || 0)) / total : 0;
}

function childrenLine(job) {
  if (!job) return "The job is not submitted yet.";
  const told = ORDER.filter((kind) => job.children[kind]).map((kind) => `${count(job.children[kind])} ${kind}`);
  const total = Object.values(job.children).reduce((sum, number) => sum + number, 0);
  return `${counted(total, "child", "children")}: ${told.join(", ") || "none yet"}`;
}

function waitsFor(job) {
  if (!job) return "";
  if (job.children.running) return "estimating the end…";
  return childrenDone(job) === 1 ? "checking the results…" : "containers start…";
}
