// One recording: its audio, its transcript, a person's correction, and where everything came from.

import { act, address, read } from "./api.js";
import { fill, h } from "./dom.js";
import { lasting, moment, place } from "./format.js";
import { againDialog, retryDialog } from "./new_run.js";
import { button, chip, downloadButton, go, notice, openDialog, path, say } from "./parts.js";
import { makePlayer } from "./player.js";
import { makeTranscript } from "./transcript.js";

export async function showRecording(context) {
  const { wanted, signal } = context;
  const which = { run_id: wanted.run, plan: wanted.plan, name: wanted.recording };
  const found = await read("recording", which, signal);
  const { entry } = found;
  const page = { ...context, which, found, entry, player: null, transcript: null };
  const text = h("section", { class: "card", "aria-label": "Transcript" });
  if (found.audio) {
    page.player = makePlayer({
      url: found.audio,
      seconds: entry.audio_seconds,
      renewed: async () => (await read("recording", which)).audio,
      moved: (seconds) => page.transcript?.mark(seconds),
    });
    signal.addEventListener("abort", page.player.stop);
  }
  if (found.machine) showText(page, text, found.correction ? "correction" : "machine");
  else fill(text, noTranscript(page));
  startAt(page, Number(wanted.at));
  return [
    head(page),
    h("div", { class: "recording" },
      h("div", {}, page.player?.element || noAudio(entry), text, readings(page)),
      h("aside", { "aria-label": "About this recording" }, about(page), downloads(page), earlier(page))),
  ];
}

/** Show the place that the address names. It plays at a press of the player's button. */
function startAt(page, seconds) {
  if (!seconds || !page.player) return;
  page.player.moveTo(seconds);
  requestAnimationFrame(() => page.transcript?.wordAt(seconds)?.scrollIntoView({ block: "center" }));
}

function head(page) {
  const { wanted, entry, found, user } = page;
  const again = (open) => () => open({ runId: wanted.run, plan: wanted.plan, entries: [entry], started: (runId) => page.go({ run: runId }) });
  const canRetry = entry.state === "rejected" && entry.code !== "vanished";
  return h("div", { class: "heading" },
    path(go({}, {}, "Runs"), go({ run: wanted.run }, {}, wanted.run), h("span", { "aria-current": "page" }, "Recording")),
    h("div", { class: "row apart" },
      h("div", { class: "row" }, h("h1", {}, entry.name), chip(entry.state), found.correction ? h("span", { class: "chip good" }, "Corrected") : null),
      user.start ? h("div", { class: "row" },
        canRetry ? button("Retry", again(retryDialog), { class: "first" }) : null,
        entry.state === "transcribed" && found.audio ? button("Transcribe again", again(againDialog)) : null) : null));
}

const noAudio = (entry) => notice("warn", entry.state === "missing" || entry.code === "vanished"
  ? "The bucket has no audio of this recording."
  : "The audio of this upload is no longer in the bucket: it was deleted, or a later upload of this name has replaced it.");

function noTranscript({ entry }) {
  const titles = { rejected: "This recording was rejected", missing: "This recording got no result", replaced: "Another upload took its place" };
  return h("div", { class: "inside" },
    h("h2", {}, titles[entry.state] || "No transcript"),
    entry.reason ? h("p", { class: "reason" }, entry.reason) : null,
    entry.code ? h("p", { class: "muted small" }, `Code: ${entry.code}`) : null);
}

/** The text, of a person (`correction`) or of the machine, with what a user can do with it. */
function showText(page, place, kind) {
  const { found, user } = page;
  const shown = found[kind];
  const play = page.player && shown.timed ? page.player.playFrom : null;
  page.transcript = makeTranscript(shown.paragraphs, play);
  const choice = found.correction ? h("div", { class: "tabs", role: "group", "aria-label": "Text" },
    [["correction", "Corrected"], ["machine", "Machine's"]].map(([key, label]) =>
      button(label, () => showText(page, place, key), { "aria-pressed": String(key === kind) }))) : h("h2", {}, "Transcript");
  const edit = user.correct && found.machine.current ? button(found.correction ? "Edit the correction" : "Correct", () => showEditor(page, place)) : null;
  fill(place,
    h("div", { class: "inside" }, h("div", { class: "row apart" }, choice, edit),
      kind === "correction" ? h("p", { class: "muted small" }, `By ${found.correction.author}, ${moment(found.correction.time)}`) : null,
      remarks(page, kind)),
    h("div", { class: "inside" }, page.transcript.element,
      page.transcript.doubtful ? h("p", { class: "legend" }, h("span", { class: "w doubtful" }, "Dotted words"), " are doubtful: the engine is not sure of them.") : null));
}

function remarks(page, kind) {
  const { machine } = page.found;
  if (!machine.current) {
    return notice("warn", "A later upload or another run has replaced this transcript. This is the text that the run wrote.");
  }
  if (kind === "machine" && !machine.timed) {
    return notice("", h("p", {}, "This transcript has no word times, because its run did not write JSON. Words cannot be played or marked."),
      page.user.start && page.found.audio ? h("p", {}, button("Transcribe again with word times", () => againDialog({
        runId: page.wanted.run, plan: page.wanted.plan, entries: [page.entry], started: (runId) => page.go({ run: runId }),
      }), { class: "quiet" })) : null);
  }
  return machine.warnings.length ? notice("warn", machine.warnings.map((warning) => h("p", {}, warning))) : null;
}

/** Edit the text. The server refuses it if somebody else was faster. */
function showEditor(page, place) {
  const { found, which } = page;
  const before = (found.correction || found.machine).text;
  const text = h("textarea", { id: "corrected", rows: Math.min(24, 6 + Math.ceil(before.length / 70)), spellcheck: "true", value: before });
  const problem = h("div", { role: "alert" });
  const leave = () => showText(page, place, found.correction ? "correction" : "machine");
  const save = button("Save", async () => {
    save.disabled = true;
    try {
      await act("correction", { ...which, text: text.value, etag: found.correction_etag });
      say("The correction is saved. The machine's text is kept beside it.");
      page.again();
    } catch (error) {
      save.disabled = false;
      fill(problem, error.status === 409 && error.body?.theirs ? conflict(page, error, problem) : notice("bad", error.message));
    }
  }, { class: "first" });
  fill(place, h("div", { class: "inside" },
    h("div", { class: "field" }, h("label", { for: "corrected" }, "Corrected text"),
      h("span", { class: "help" }, "Words that you keep keep their place in the audio. It counts in captions, search and training data.")),
    problem, text, h("div", { class: "row" }, save, button("Cancel", leave))));
  text.focus();
}

function conflict(page, error, problem) {
  const { author, text } = error.body.theirs;
  return notice("bad",
    h("p", {}, h("strong", {}, `${author} has saved another correction meanwhile. `), "Yours is not saved. Compare, put both together below, and save again."),
    h("details", {}, h("summary", {}, `The text of ${author}`), h("p", { class: "said" }, text)),
    h("p", {}, button("I have put both together", () => {
      page.found.correction_etag = error.body.etag;
      fill(problem);
    })));
}

function readings({ found, player }) {
  const known = found.machine?.readings || [];
  if (!known.length) return null;
  return h("details", { class: "card" }, h("summary", { class: "inside" }, `Other readings of ${known.length === 1 ? "one stretch" : `${known.length} stretches`}`),
    h("div", { class: "inside" }, h("ul", { class: "readings" }, known.map((segment) => h("li", {},
      h("p", {}, player ? h("button", { type: "button", class: "quiet", on: { click: () => player.playFrom(segment.start) } }, place(segment.start)) : null, segment.text),
      h("ol", {}, segment.readings.map((reading) => h("li", {}, reading))))))));
}

function about(page) {
  const { entry, found, wanted, which, user } = page;
  const [model, digest] = (found.machine?.model || entry.model).split(" ");
  const facts = [
    ["Length", entry.audio_seconds ? lasting(entry.audio_seconds) : null],
    ["Engine", found.machine?.engine || entry.engine],
    ["Model", model],
    ["Model's SHA-256", digest ? `${digest}…` : null],
    ["Language", found.machine?.language],
    ["CPU time", entry.compute_seconds ? lasting(entry.compute_seconds) : null],
    ["Written", found.machine?.written ? moment(found.machine.written) : null],
    ["Child", String(entry.child)],
  ].filter(([, value]) => value);
  return h("section", { class: "card" }, h("div", { class: "inside" },
    h("h2", {}, "About"),
    h("dl", { class: "facts" }, facts.map(([label, value]) => [h("dt", {}, label), h("dd", {}, value)])),
    h("div", { class: "downloads" },
      user.logs && entry.log_stream ? button("Child's log", () => openLog(which), { class: "button" }) : null,
      downloadButton("Report", address("report", { run_id: wanted.run, plan: wanted.plan })))));
}

async function openLog(which) {
  const text = h("pre", { tabindex: 0 }, "Loading…");
  const dialog = openDialog("Log of the child", text, h("div", { class: "foot" }, button("Close", () => dialog.close())));
  try {
    fill(text, await read("log", which));
  } catch (error) {
    fill(text, error.message);
  }
}

const FORMS = { txt: "Text", json: "JSON", srt: "SubRip", vtt: "WebVTT" };

function downloads({ found, which }) {
  const corrected = found.correction ? ["txt", ...(found.correction.timed ? ["srt", "vtt"] : [])] : [];
  const links = (forms, more) => h("div", { class: "downloads" }, forms.map((form) => downloadButton(FORMS[form], address("file", { ...which, form, ...more }))));
  const machine = found.machine?.formats || [];
  if (!found.audio && !machine.length) return null;
  return h("section", { class: "card" }, h("div", { class: "inside" },
    h("h2", {}, "Download"),
    corrected.length ? [h("h3", {}, "Corrected"), links(corrected, { corrected: true })] : null,
    machine.length ? [h("h3", {}, corrected.length ? "Machine's" : "Transcript"), links(machine, {})] : null,
    found.audio ? [h("h3", {}, "Audio"), h("div", { class: "downloads" }, downloadButton("Recording", address("file", { ...which, form: "audio" })))] : null));
}

/** Earlier versions are looked up when somebody wants to see them. */
function earlier({ entry, which, found }) {
  if (!found.machine) return null;
  const list = h("ul", { class: "list" }, h("li", { class: "muted" }, "Loading…"));
  const details = h("details", { class: "card" }, h("summary", { class: "inside" }, "Earlier versions"), h("div", { class: "inside" }, list));
  details.addEventListener("toggle", async () => {
    if (!details.open) return;
    try {
      const { versions } = await read("versions", which);
      fill(list, versions.length ? versions.map((version) => h("li", { class: "row apart" },
        h("span", {}, moment(version.written), h("span", { class: "muted small" }, ` ${version.model.split(" ")[0]}`)),
        downloadButton("Text", address("file", { ...which, form: "txt", version: version.version })))) : h("li", { class: "muted" }, "This transcript replaced none."));
    } catch (error) {
      fill(list, h("li", {}, error.message));
    }
  });
  return details;
}
