// All runs, the newest first: those that were accounted for, and those that Airflow knows beside them.

import { airflowRuns, read } from "./api.js";
import { fill, h } from "./dom.js";
import { clock, count, counted, day, hours, lasting, usd } from "./format.js";
import { openNewRun } from "./new_run.js";
import { button, chip, go, nothing, tiles, warned } from "./parts.js";
import { progressBar } from "./progress.js";
import { openUpload } from "./upload.js";

const AIRFLOW_RUNS = 100;
const NEWS_MILLISECONDS = 120_000; // how long the server's list of runs may lag behind

export async function showRuns({ user, signal, again, go: leave }) {
  const known = await airflowRuns(AIRFLOW_RUNS);
  await noticeEnded(known.dag_runs, signal);
  const first = await read("runs", {}, signal);
  if (!first.count && !known.dag_runs.length) return empty(user, leave);
  const records = [...first.runs];
  const body = h("tbody");
  const more = h("div", { class: "pager" });
  const draw = () => {
    fill(body, merged(records, known.dag_runs, records.length === first.count).map(row));
    fill(more, h("span", {}, counted(first.count, "run with a report", "runs with reports")),
      records.length < first.count ? button("Show older runs", load) : null);
  };
  const load = async () => {
    const next = await read("runs", { offset: records.length }, signal);
    records.push(...next.runs);
    draw();
  };
  draw();
  followRunning(known.dag_runs, body, signal, again);
  const heads = ["Run", "Result", "Recordings", "Audio", "Cost", "Rejected", "Missing"];
  return [
    h("div", { class: "heading" }, h("h1", {}, "Runs")),
    summary(first.recent),
    h("div", { class: "card table-card" },
      h("table", {},
        h("thead", {}, h("tr", {}, heads.map((head, at) => h("th", { scope: "col", class: at > 2 ? "number" : null }, head)))),
        body),
      more),
  ];
}

/** Let the server look for the reports of runs that have just ended, which its list may lack. */
function noticeEnded(dagRuns, signal) {
  const recent = dagRuns.filter((run) => run.end_date && Date.now() - new Date(run.end_date) < NEWS_MILLISECONDS);
  return Promise.all(recent.map((run) => read("run", { run_id: run.dag_run_id }, signal)));
}

function empty(user, leave) {
  const started = (runId) => leave({ run: runId });
  return nothing(
    "No run yet",
    "Upload recordings and start a run, or wait for the next scheduled one. Each run appears here with its transcripts.",
    user.start ? button("Upload recordings", () => openUpload({ started }), { class: "first" }) : null,
    user.start ? button("New run", () => openNewRun({ title: "New run", started })) : null,
  );
}

/** Sums over the last days. */
const summary = ({ days, files, audio_hours: audio, estimated_usd: cost }) => tiles(
  [`Transcribed in ${days} days`, count(files.transcribed || 0)],
  ["Audio", hours(audio)],
  ["Compute, estimated", usd(cost)],
  ["Rejected", warned(files.rejected || 0, "warn")],
  ["Missing", warned(files.missing || 0, "bad")],
);

/** Records and Airflow's runs as one list, the newest first. Airflow's older ones wait until the records reach them. */
function merged(records, dagRuns, complete) {
  const byId = new Map(dagRuns.map((run) => [run.dag_run_id, run]));
  const oldest = complete || !records.length ? "" : records.at(-1).finished;
  const known = records.map((record) => ({ record, run: byId.get(record.run_id), time: byId.get(record.run_id)?.start_date || record.finished }));
  const ids = new Set(records.map((record) => record.run_id));
  const others = dagRuns
    .filter((run) => !ids.has(run.dag_run_id))
    .map((run) => ({ run, time: run.start_date || run.queued_at || run.run_after }))
    .filter(({ time }) => new Date(time) >= new Date(oldest || 0));
  return [...known, ...others].sort((one, other) => new Date(other.time) - new Date(one.time));
}

const KINDS = { scheduled: "On schedule", manual: "By hand", backfill: "Backfill", asset_triggered: "After uploads", asset_materialization: "After uploads" };

export const isLive = (run) => run?.state === "running" || run?.state === "queued";

/** What became of a run, as a key of the chips. */
export function resultOf(record, run) {
  if (isLive(run)) return run.state;
  if (record) return record.totals.files.missing ? "failed" : "done";
  if (run?.state === "failed") return "failed";
  return run?.conf?.dry_run ? "dry" : "nothing";
}

function row({ record, run, time }) {
  const id = record?.run_id || run.dag_run_id;
  const result = resultOf(record, run);
  const files = record?.totals.files;
  const who = run?.triggering_user_name ? ` by ${run.triggering_user_name}` : "";
  const kind = KINDS[run?.run_type] || (record && !run ? "Not in this Airflow" : "");
  const took = run?.start_date && run?.end_date ? `, ${lasting((new Date(run.end_date) - new Date(run.start_date)) / 1000)}` : "";
  return h("tr", { class: result === "nothing" ? "pale" : null, "data-run": id },
    h("td", {},
      go({ run: id }, { class: "name" }, `${day(time)}, ${clock(time)}`),
      h("span", { class: "under" }, `${kind}${run?.run_type === "manual" ? who : ""}${took}`)),
    h("td", {}, chip(result)),
    h("td", { class: "progress-of" }, files ? share(files) : null),
    h("td", { class: "number", "data-label": "Audio" }, record ? hours(record.totals.audio_hours) : ""),
    h("td", { class: "number", "data-label": "Cost" }, record ? usd(record.estimated_usd) : ""),
    h("td", { class: "number", "data-label": "Rejected" }, files ? warned(files.rejected, "warn") : ""),
    h("td", { class: "number", "data-label": "Missing" }, files ? warned(files.missing, "bad") : ""));
}

/** How many recordings, and a bar with the parts of each state. */
function share(files) {
  const total = Object.values(files).reduce((sum, number) => sum + number, 0);
  const tones = { transcribed: "good", rejected: "warn", missing: "bad", replaced: "" };
  const bar = h("div", { class: "share", "aria-hidden": "true" });
  for (const [state, number] of Object.entries(files)) {
    if (!number) continue;
    const part = h("span", { class: tones[state] });
    part.style.width = `${(100 * number) / total}%`;
    bar.append(part);
  }
  return h("div", {}, h("span", {}, counted(total, "recording")), bar);
}

/** Renew the bar of a running run, and the list when it ends. */
function followRunning(dagRuns, body, signal, again) {
  const live = dagRuns.find((run) => run.state === "running") || dagRuns.find(isLive);
  if (!live) return;
  const look = async () => {
    if (signal.aborted) return;
    try {
      const [found, { dag_runs: now }] = await Promise.all([
        read("progress", { run_id: live.dag_run_id }, signal),
        airflowRuns(AIRFLOW_RUNS),
      ]);
      if (now.find((run) => run.dag_run_id === live.dag_run_id)?.state !== live.state) {
        again();
        return;
      }
      const cell = [...body.children].find((line) => line.dataset.run === live.dag_run_id)?.querySelector(".progress-of");
      if (cell) fill(cell, progressBar(found, { brief: true }));
    } catch (error) {
      if (signal.aborted || error.status === 401 || error.status === 403) return;
    }
    setTimeout(look, 5000);
  };
  look();
}
