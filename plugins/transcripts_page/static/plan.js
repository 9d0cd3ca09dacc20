// What a run would do.

import { h } from "./dom.js";
import { bytes, count, counted, hours, lasting, usd } from "./format.js";
import { notice, tiles } from "./parts.js";

/** The figures of a plan. */
export const planTiles = (plan) => tiles(
  ["Recordings", count(plan.files)],
  ["Audio, estimated", hours(plan.estimated_audio_hours)],
  ["Takes about", lasting(plan.estimated_minutes * 60)],
  ["Costs about", usd(plan.estimated_usd)],
  ["Containers", count(plan.children)],
);

/** What a plan leaves alone, or null. */
export function planNotes(plan) {
  const notes = [...plan.unusable_models];
  if (plan.left_alone) notes.push(`${counted(plan.left_alone, "object")} left alone; the log of the task plan says why.`);
  return notes.length ? notice("warn", notes.map((note) => h("p", {}, note))) : null;
}

/** The ten largest recordings of a plan. */
export const largest = (plan) => h("details", {},
  h("summary", {}, "Largest recordings"),
  h("ul", { class: "list tight small" }, plan.largest_files.map((file) =>
    h("li", { class: "row apart" }, h("span", {}, file.source_key), h("span", { class: "muted" }, `${bytes(file.size)}, about ${lasting(file.audio_minutes * 60)}`)))));
