// One run: what it did, what it is doing, or what it would do; and its recordings.

import { address, airflowRun, planOf, read, start } from "./api.js";
import { fill, h } from "./dom.js";
import { count, counted, hours, lasting, moment, usd } from "./format.js";
import { retryDialog } from "./new_run.js";
import { button, busy, chip, downloadButton, go, nothing, notice, pager, path, tiles, waiting, warned } from "./parts.js";
import { largest, planNotes, planTiles } from "./plan.js";
import { progressBar } from "./progress.js";
import { isLive, resultOf } from "./runs.js";
import { openInAirflow } from "./theme.js";

const DAG = "transcription";
const ROWS = 50;

export async function showRun(context) {
  const { wanted, signal } = context;
  if (wanted.dag && wanted.dag !== DAG) {
    return nothing("No transcripts here", `This run belongs to the DAG ${wanted.dag}. Transcripts come from the DAG ${DAG}.`, go({}, { class: "button" }, "All transcripts"));
  }
  const [{ run: record }, run] = await Promise.all([read("run", { run_id: wanted.run }, signal), airflowRun(wanted.run)]);
  if (!record && !run) {
    return nothing("No such run", `Neither the bucket nor Airflow knows the run ${wanted.run}.`, go({}, { class: "button" }, "All runs"));
  }
  const parts = [head(context, record, run)];
  if (isLive(run)) parts.push(livePart(context, run));
  if (record) parts.push(...accounted(context, record));
  else if (!isLive(run)) parts.push(await unaccounted(context, run));
  return parts;
}

function head({ wanted }, record, run) {
  const time = run?.start_date || run?.queued_at || record?.finished;
  const plan = record ? wanted.plan || record.plans.at(-1) : null;
  return h("div", { class: "heading" },
    path(go({}, {}, "Runs"), h("span", { "aria-current": "page" }, wanted.run)),
    h("div", { class: "row apart" },
      h("div", { class: "row" }, h("h1", {}, time ? moment(time) : wanted.run), chip(resultOf(record, run))),
      h("div", { class: "row" },
        record ? downloadButton("Report", address("report", { run_id: wanted.run, plan })) : null,
        run ? button("Open in Airflow", () => openInAirflow(`dags/${DAG}/runs/${encodeURIComponent(wanted.run)}`)) : null)));
}

/** The progress of a running run, renewed until it ends. */
function livePart({ wanted, signal, again }, run) {
  const inside = h("div", { class: "inside" }, waiting());
  const look = async () => {
    if (signal.aborted) return;
    try {
      const [found, now] = await Promise.all([read("progress", { run_id: wanted.run }, signal), airflowRun(wanted.run)]);
      if (now?.state !== run.state) {
        again();
        return;
      }
      fill(inside, run.state === "queued"
        ? h("p", {}, "The run waits until Airflow starts it. Runs plan and work one after the other.")
        : progressBar(found));
    } catch (error) {
      if (signal.aborted) return;
      fill(inside, notice("bad", error.message));
      if (error.status === 401 || error.status === 403) return;
    }
    setTimeout(look, 5000);
  };
  look();
  return h("section", { class: "card", "aria-label": "Progress" }, inside);
}

async function unaccounted(context, run) {
  const plan = await planOf(context.wanted.run);
  if (run.state === "failed") {
    return nothing("This run failed before it had results",
      "No recording is lost: what waits in input/ is taken by the next run. The log of the failed task says why.",
      button("Open in Airflow", () => openInAirflow(`dags/${DAG}/runs/${encodeURIComponent(context.wanted.run)}`)));
  }
  if (plan?.dry_run) return dryRun(context, run, plan);
  return nothing("This run had nothing to do", "No recording waited that the run could take.", go({}, { class: "button" }, "All runs"));
}

function dryRun({ user, go: leave }, run, plan) {
  const problem = h("div");
  const begin = user.start ? button("Start this run", async () => {
    const conf = { ...run.conf };
    delete conf.dry_run;
    const started = await busy(begin, problem, () => start(conf));
    if (started) leave({ run: started.dag_run_id });
  }, { class: "first" }) : null;
  return h("section", { class: "card" },
    h("div", { class: "inside" }, h("div", { class: "row apart" }, h("h2", {}, "What the run would do"), begin), problem),
    h("div", { class: "inside" }, planTiles(plan), planNotes(plan), largest(plan)));
}

function accounted(context, record) {
  const { files } = record.totals;
  const parts = [tiles(
    ["Transcribed", count(files.transcribed)],
    ["Audio", hours(record.totals.audio_hours)],
    ["Compute, estimated", usd(record.estimated_usd)],
    ["Rejected", warned(files.rejected, "warn")],
    ["Missing", warned(files.missing, "bad")],
  )];
  if (files.missing) {
    parts.push(notice("bad", h("strong", {}, `${counted(files.missing, "recording")} got no transcript and no reason. `),
      "Nothing is lost: clear the run in Airflow, or let the next run take them."));
  }
  parts.push(record.has_index ? recordingsCard(context, record) : nothing("No list of recordings",
    "An earlier version of this pipeline made this run, without an index of its recordings. The report has its totals, and the bucket the transcripts."));
  return parts;
}

const STATES = [["", "All"], ["transcribed", "Transcribed"], ["rejected", "Rejected"], ["missing", "Missing"], ["replaced", "Replaced"]];

function recordingsCard(context, record) {
  const { wanted, signal } = context;
  const plan = record.plans.includes(wanted.plan) ? wanted.plan : record.plans.at(-1);
  let { state = "", part = "" } = wanted;
  const { files } = record.totals;
  const body = h("tbody");
  const foot = h("div");
  const tabs = h("div", { class: "tabs", role: "group", "aria-label": "State" });
  const actions = h("div", { class: "row" });
  let asked = 0;
  const show = async (offset) => {
    asked += 1;
    const own = asked;
    try {
      const found = await read("recordings", { run_id: record.run_id, plan, state, part, offset }, signal);
      if (own !== asked) return; // an answer to an earlier question may come later
      fill(body, found.recordings.length ? found.recordings.map((entry) => row(record.run_id, plan, entry)) : h("tr", {}, h("td", { colspan: 4, class: "muted" }, "No recording fits this filter.")));
      fill(foot, pager(offset, found.recordings.length, found.count, ROWS, show));
      drawActions(found);
    } catch (error) {
      if (!signal.aborted && own === asked) fill(body, h("tr", {}, h("td", { colspan: 4 }, notice("bad", error.message))));
    }
  };
  const drawTabs = () => fill(tabs, STATES.filter(([key]) => !key || files[key]).map(([key, label]) =>
    button(key ? `${label} ${count(files[key])}` : label, () => { state = key; remember(); drawTabs(); show(0); }, { "aria-pressed": String(key === state) })));
  const drawActions = (found) => fill(actions, context.user.start && state === "rejected" && found.count ? button(
    `Retry ${found.count > found.recordings.length ? "these" : "all"} ${found.recordings.length}`,
    () => retryDialog({ runId: record.run_id, plan, entries: found.recordings, started: (runId) => context.go({ run: runId }) }),
  ) : null);
  const remember = () => {
    const given = Object.entries({ ...wanted, plan, state, part }).filter(([, value]) => value);
    history.replaceState(null, "", `?${new URLSearchParams(given)}`);
  };
  let typing;
  const filter = h("input", {
    type: "search", id: "part", placeholder: "Filter by name", "aria-label": "Filter by name", value: part,
    on: { input: (event) => { clearTimeout(typing); typing = setTimeout(() => { part = event.target.value.trim(); remember(); show(0); }, 250); } },
  });
  drawTabs();
  show(0);
  return h("section", { class: "card table-card", "aria-label": "Recordings" },
    h("div", { class: "inside" }, h("div", { class: "row apart" }, tabs, h("div", { class: "row" }, actions, planChoice(context, record, plan), filter))),
    h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Recording"), h("th", { scope: "col" }, "State"), h("th", { scope: "col", class: "number" }, "Audio"), h("th", { scope: "col" }, "Model"))),
      body),
    foot);
}

function planChoice({ wanted, go: leave }, record, plan) {
  if (record.plans.length < 2) return null;
  const choice = h("select", { "aria-label": "Attempt", on: { change: () => leave({ ...wanted, plan: choice.value }) } },
    record.plans.map((id, at) => h("option", { value: id, selected: id === plan }, `Attempt ${at + 1} of ${record.plans.length}`)));
  return choice;
}

function row(runId, plan, entry) {
  return h("tr", {},
    h("td", {},
      go({ run: runId, plan, recording: entry.name }, { class: "name" }, entry.name),
      entry.reason ? h("span", { class: "under" }, entry.reason) : null),
    h("td", {}, chip(entry.state)),
    h("td", { class: "number", "data-label": "Audio" }, entry.audio_seconds ? lasting(entry.audio_seconds) : ""),
    h("td", { class: "muted small" }, entry.model.split(" ")[0]));
}
