// The dialogs that start runs: a new one, a retry of rejected recordings, a repetition. A dry run shows the plan first.

import { act, airflowRun, isPaused, planOf, read, start } from "./api.js";
import { fill, h } from "./dom.js";
import { counted } from "./format.js";
import { busy, button, notice, openDialog } from "./parts.js";
import { largest, planNotes, planTiles } from "./plan.js";

const LOOK_MILLISECONDS = 1500;

function field(label, control, help) {
  control.id ||= `field-${label.replace(/\W+/g, "-").toLowerCase()}`;
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, help ? h("span", { class: "help" }, help) : null);
}

/** The controls of what a run can vary, and `params()`, what they say. */
function options({ withFolder }) {
  const folder = h("input", { type: "text", placeholder: "calls/2026/", autocomplete: "off" });
  const models = h("datalist", { id: "models" });
  const model = h("input", { type: "text", list: "models", placeholder: "The folder's, or the default", autocomplete: "off", id: "field-model" });
  const channels = h("select", {}, h("option", { value: "mixed" }, "Mixed"), h("option", { value: "separate" }, "Separate: a speaker on each"));
  const srt = h("input", { type: "checkbox" });
  const vtt = h("input", { type: "checkbox" });
  const most = h("input", { type: "number", min: 0, step: "any", placeholder: "No limit" });
  read("models").then((found) => fill(models, found.models.map((name) => h("option", { value: name })))).catch(() => {});
  return {
    element: h("div", { class: "fields" },
      withFolder ? field("Folder", folder, "Only recordings below it. Empty: all that wait.") : null,
      h("div", {}, field("Model", model), models),
      field("Channels", channels),
      field("US dollars at most", most),
      h("div", { class: "field" }, h("span", { class: "label" }, "Captions"),
        h("div", { class: "row" }, h("label", { class: "check" }, srt, "SubRip"), h("label", { class: "check" }, vtt, "WebVTT")))),
    params() {
      const chosen = { output_formats: ["json", ...(srt.checked ? ["srt"] : []), ...(vtt.checked ? ["vtt"] : [])], channels: channels.value };
      if (folder.value.trim()) chosen.prefix = folder.value.trim();
      if (model.value.trim()) chosen.model = model.value.trim();
      if (most.value) chosen.max_usd = Number(most.value);
      return chosen;
    },
  };
}

/**
 * Ask for a run's params, show its plan on request, and start it.
 * @param {object} wanted `title`; `about`, what to know before; `params`, those that are fixed; `prepare`, a function
 *   that must work before the run starts; `started`, a function that gets the run's id.
 */
export function openNewRun({ title, about = null, params = {}, prepare = async () => {}, started, canPlan = true }) {
  const choices = options({ withFolder: params.prefix === undefined });
  const problem = h("div", { role: "alert" });
  const planned = h("div", { class: "list", "aria-live": "polite" });
  const paused = h("div");
  isPaused().then((is) => fill(paused, is ? notice("warn", "The DAG is switched off in Airflow, so runs only wait. Switch it on first.") : null)).catch(() => {});
  const wanted = () => ({ ...choices.params(), ...params });
  const plan = button("Plan first", () => busy(plan, problem, () => showPlan(wanted(), planned, dialog)));
  const begin = button("Start run", () => busy(begin, problem, async () => {
    await prepare();
    const run = await start(wanted());
    dialog.close();
    started(run.dag_run_id);
  }), { class: "first" });
  const dialog = openDialog(title, about ? h("p", { class: "muted" }, about) : null, paused, choices.element, planned, problem,
    h("div", { class: "foot" }, button("Cancel", () => dialog.close()), canPlan ? plan : null, begin));
  return dialog;
}

async function showPlan(params, place, dialog) {
  fill(place, h("p", { class: "muted" }, "Planning… Runs plan one after the other."));
  const { dag_run_id: runId } = await start({ ...params, dry_run: true });
  let run;
  do {
    await new Promise((resolve) => { setTimeout(resolve, LOOK_MILLISECONDS); });
    run = await airflowRun(runId);
  } while (dialog.open && run && !["success", "failed"].includes(run.state));
  const plan = await planOf(runId);
  if (run?.state === "failed") fill(place, notice("bad", "The plan failed. The log of the task plan in Airflow says why."));
  else if (!plan) fill(place, notice("warn", "No recording waits that this run could take."));
  else fill(place, planTiles(plan), planNotes(plan), largest(plan));
}

/** The longest text with which all names begin. */
function commonStart(names) {
  const [first, ...others] = names;
  let length = first.length;
  for (const name of others) while (!name.startsWith(first.slice(0, length))) length -= 1;
  return first.slice(0, length);
}

const TOLD = {
  gone: "The rejected audio is no longer in the bucket. Upload it again.",
  "too-large": "The audio is larger than 5 GB, which a page cannot copy. Copy it from failed/ to input/ with the AWS command line.",
};

/** Put rejected recordings back and start a run for them. */
export function retryDialog({ runId, plan, entries, started }) {
  const inPlace = entries.filter((entry) => entry.source_key.startsWith("processed/"));
  const moved = entries.filter((entry) => !entry.source_key.startsWith("processed/"));
  const names = entries.map((entry) => entry.name);
  openNewRun({
    title: `Retry ${entries.length === 1 ? names[0] : counted(entries.length, "recording")}`,
    about: "The recording is put back into input/, and a run takes it. Choose another model if the first one recognised nothing. " +
      "The run also takes other recordings that wait under the same beginning of the name.",
    params: { prefix: commonStart(names), ...(inPlace.length ? { again: true } : {}) },
    canPlan: false,
    prepare: async () => {
      if (!moved.length) return;
      const { names: became } = await act("put-back", { run_id: runId, plan, names: moved.map((entry) => entry.name) });
      const impossible = Object.values(became).filter((result) => TOLD[result]);
      if (impossible.length === names.length) throw new Error(TOLD[impossible[0]]);
    },
    started,
  });
}

/** Transcribe a recording again, in place. */
export function againDialog({ entries: [entry], started }) {
  openNewRun({
    title: `Transcribe ${entry.name} again`,
    about: "The new transcript replaces this one, which stays in the bucket as an earlier version. A correction stays. " +
      "Recordings whose names begin the same are transcribed again, too; the plan says how many.",
    params: { prefix: entry.name, again: true },
    started,
  });
}
