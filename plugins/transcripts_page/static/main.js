// The start of the page: the user's rights, the head, and which view the address names.

import { read } from "./api.js";
import { fill, h } from "./dom.js";
import { openNewRun } from "./new_run.js";
import { button, failure, here, waiting } from "./parts.js";
import { showRecording } from "./recording.js";
import { showRun } from "./run.js";
import { showRuns } from "./runs.js";
import { showHits } from "./hits.js";
import { followTheme } from "./theme.js";
import { openUpload, takeDrops } from "./upload.js";

const view = document.getElementById("view");
const search = document.getElementById("search");
const words = document.getElementById("words");
const by = document.getElementById("by");

/** What ends with a view: it stops its timers and requests. */
let leaving = new AbortController();

const parameters = () => Object.fromEntries(new URLSearchParams(location.search));

function viewOf({ run, recording, q }) {
  if (q !== undefined) return showHits;
  if (recording !== undefined) return showRecording;
  return run === undefined ? showRuns : showRun;
}

async function show(user) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const wanted = parameters();
  words.value = wanted.q || "";
  by.value = wanted.by === "name" ? "name" : "words";
  fill(view, waiting());
  const context = { user, wanted, signal, go, again: () => show(user) };
  try {
    const content = await viewOf(wanted)(context);
    if (!signal.aborted) fill(view, content);
  } catch (error) {
    if (!signal.aborted) fill(view, failure(error, () => show(user)));
  }
}

let go = () => {};

async function start() {
  followTheme();
  fill(view, waiting());
  let user;
  try {
    user = await read("me");
  } catch (error) {
    fill(view, failure(error, start));
    return;
  }
  go = (wanted) => {
    history.pushState(null, "", here(wanted));
    scrollTo(0, 0);
    view.focus({ preventScroll: true });
    show(user);
  };
  addEventListener("popstate", () => show(user));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-go]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(Object.fromEntries(new URLSearchParams(new URL(link.href).search)));
  });
  search.addEventListener("submit", (event) => {
    event.preventDefault();
    if (words.value.trim()) go({ q: words.value.trim(), by: by.value });
  });
  if (user.start) {
    const started = (runId) => go({ run: runId });
    const actions = [
      button("Upload", () => openUpload({ started })),
      button("New run", () => openNewRun({ title: "New run", started }), { class: "first" }),
    ];
    fill(document.getElementById("actions"), actions);
    takeDrops((files) => openUpload({ started, files }));
  } else {
    fill(document.getElementById("actions"), h("span", { class: "chip", title: "Your Airflow user may read, and start nothing." }, "Read only"));
  }
  show(user);
}

start();
