// What a search found, over all runs.

import { read } from "./api.js";
import { fill, h } from "./dom.js";
import { place } from "./format.js";
import { button, chip, go, here, nothing, path } from "./parts.js";

export async function showHits({ wanted, signal }) {
  const by = wanted.by === "name" ? "name" : "words";
  const hits = [];
  const list = h("ul", { class: "hits" });
  const foot = h("div", { class: "row" });
  const load = async () => {
    const found = await read("search", { q: wanted.q, by, offset: hits.length }, signal);
    hits.push(...found.hits);
    list.append(...found.hits.map(hit));
    fill(foot, found.more ? button("Show more", load) : null);
  };
  await load();
  const other = by === "words" ? "name" : "words";
  const title = h("div", { class: "heading" },
    path(go({}, {}, "Runs"), h("span", { "aria-current": "page" }, "Search")),
    h("h1", {}, `${by === "words" ? "Words" : "Names"}: ${wanted.q}`));
  if (!hits.length) {
    return [title, nothing("Nothing was found",
      by === "words" ? "No transcript has all these words. Put a phrase in quotes; a star finds the words that begin so: meet*." : "No recording has this in its name.",
      go({ q: wanted.q, by: other }, { class: "button" }, by === "words" ? "Search the names" : "Search the words"))];
  }
  return [title, list, foot];
}

function hit({ run_id: run, plan, entry, passages, corrected }) {
  const of = { run, plan, recording: entry.name };
  return h("li", { class: "card hit" },
    h("div", { class: "row apart" },
      h("a", { class: "name", href: here(of), "data-go": true }, entry.name),
      h("div", { class: "row" }, corrected ? h("span", { class: "chip good" }, "Corrected") : null, entry.state === "transcribed" ? null : chip(entry.state))),
    entry.reason ? h("p", { class: "muted" }, entry.reason) : null,
    passages.map((passage) => h("a", { class: "passage", href: here({ ...of, at: passage.seconds }), "data-go": true },
      h("span", { class: "at" }, passage.seconds === null ? "" : place(passage.seconds)),
      h("span", {}, passage.before, h("mark", {}, passage.found), passage.after))));
}
