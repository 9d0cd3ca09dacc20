// Upload recordings straight to the bucket.

import { act, start } from "./api.js";
import { fill, h } from "./dom.js";
import { bytes, counted } from "./format.js";
import { busy, button, openDialog } from "./parts.js";

const AT_ONCE = 3;

/** Take files that somebody drops anywhere on the page. */
export function takeDrops(take) {
  const holdsFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files") && !document.querySelector("dialog[open]");
  addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("over-page");
  });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over-page"); });
  addEventListener("drop", (event) => {
    document.body.classList.remove("over-page");
    if (!holdsFiles(event)) return;
    event.preventDefault();
    take([...event.dataTransfer.files]);
  });
}

/** The dialog. `started` gets the id of the run that the user starts afterwards. */
export function openUpload({ started, files = [] }) {
  const uploads = [];
  const folder = h("input", { type: "text", id: "upload-folder", placeholder: "calls/2026/", autocomplete: "off" });
  const list = h("ul", { class: "list uploads" });
  const problem = h("div", { role: "alert" });
  const picker = h("input", { type: "file", id: "upload-files", multiple: true, class: "hidden", on: { change: () => { add([...picker.files]); picker.value = ""; } } });
  const drop = h("div", {
    class: "drop",
    on: {
      dragover: (event) => { event.preventDefault(); drop.classList.add("over"); },
      dragleave: () => drop.classList.remove("over"),
      drop: (event) => { event.preventDefault(); drop.classList.remove("over"); add([...event.dataTransfer.files]); },
    },
  }, h("strong", {}, "Drop recordings here"), h("span", { class: "muted" }, "or"),
    button("Choose files", () => picker.click()), h("label", { for: "upload-files", class: "hidden" }, "Recordings"), picker);
  const send = button("Upload", () => sendAll(), { class: "first", disabled: true });
  const run = button("Start a run for them", () => busy(run, problem, async () => {
    const prefix = prefixOf(folder.value);
    const { dag_run_id: runId } = await start(prefix ? { prefix } : {});
    dialog.close();
    started(runId);
  }), { class: "first" });
  run.hidden = true;
  const close = button("Cancel", () => dialog.close());

  const add = (chosen) => {
    for (const file of chosen) uploads.push(makeUpload(file, prefixOfFolder));
    fill(list, uploads.map((upload) => upload.element));
    send.disabled = !uploads.length;
    send.hidden = false;
    run.hidden = true;
    fill(send, uploads.length ? `Upload ${counted(uploads.filter((upload) => !upload.done).length, "recording")}` : "Upload");
  };
  const prefixOfFolder = () => prefixOf(folder.value);
  const sendAll = async () => {
    send.disabled = true;
    folder.disabled = true;
    const waiting = uploads.filter((upload) => !upload.done);
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      while (waiting.length) await waiting.shift().send(false);
    }));
    finished();
  };
  const finished = () => {
    const left = uploads.filter((upload) => !upload.done);
    folder.disabled = false;
    send.disabled = !left.length;
    send.hidden = !left.length;
    run.hidden = !uploads.some((upload) => upload.done);
    fill(send, `Try ${counted(left.length, "recording")} again`);
    fill(close, "Close");
  };

  const dialog = openDialog("Upload recordings",
    h("div", { class: "field" }, h("label", { for: "upload-folder" }, "Folder"), folder,
      h("span", { class: "help" }, "Its first part also chooses the model, if models/ has one for it. It may be empty.")),
    drop, list, problem, h("div", { class: "foot" }, close, send, run));
  dialog.addEventListener("close", () => uploads.forEach((upload) => upload.cancel()));
  if (files.length) add(files);

  function makeUpload(file, prefix) {
    const bar = h("div", { class: "bar", role: "progressbar", "aria-label": `Upload of ${file.name}`, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": 0 }, h("span"));
    const state = h("span", { class: "muted small" }, bytes(file.size));
    const upload = {
      done: false,
      element: h("li", {}, h("span", { class: "file" }, file.name), state, bar),
      request: null,
      cancel: () => upload.request?.abort(),
      async send(replace) {
        fill(state, "Uploading…");
        try {
          const { url, headers } = await act("upload", { name: prefix() + file.name, size: file.size, replace });
          const status = await put(url, headers, file, bar, (request) => { upload.request = request; });
          if (status === 412) {
            fill(state, "Waits there already. ", button("Replace it", async () => { await upload.send(true); finished(); }, { class: "quiet" }));
            return;
          }
          if (status < 200 || status > 299) throw new Error(status ? `S3 refused it (status ${status}).` : "The connection to S3 broke, or the bucket's CORS rule does not allow this page.");
          upload.done = true;
          fill(state, h("span", { class: "chip good" }, "Uploaded"));
        } catch (error) {
          fill(state, h("span", { class: "has-bad" }, error.message));
        }
      },
    };
    return upload;
  }
}

/** A folder as the beginning of a name: `calls/2026/`, or nothing. */
function prefixOf(folder) {
  const trimmed = folder.trim().replace(/^\/+|\/+$/g, "");
  return trimmed ? `${trimmed}/` : "";
}

/** Send a file. Returns S3's status, 0 if the connection broke. */
function put(url, headers, file, bar, onRequest) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    onRequest(request);
    request.open("PUT", url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      const part = Math.round((100 * loaded) / total);
      bar.firstChild.style.width = `${part}%`;
      bar.setAttribute("aria-valuenow", part);
    });
    request.addEventListener("loadend", () => resolve(request.status));
    request.send(file);
  });
}
