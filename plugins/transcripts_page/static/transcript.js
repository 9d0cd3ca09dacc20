// The text of a transcript: a click on a word plays from there, and the spoken word is marked.

import { h } from "./dom.js";
import { place } from "./format.js";

/**
 * @param {Array<{channel: number|null, pieces: Array}>} paragraphs as the server's `transcript_view` makes them
 * @param {function(number)|null} play plays from a place; null if there is no audio
 * @returns {{element: HTMLElement, mark: function(number), wordAt: function(number): HTMLElement|undefined, doubtful: number}}
 */
export function makeTranscript(paragraphs, play) {
  const words = []; // { start, end, element }, in order of time
  let doubtful = 0;
  const parts = paragraphs.map(({ channel, pieces }) => {
    const timed = pieces.find((piece) => piece.length > 1);
    const said = h("p", { class: "said" }, pieces.map((piece) => {
      if (piece.length === 1) return piece[0];
      const [text, start, end, unsure] = piece;
      const element = h("span", { class: unsure ? "w doubtful" : "w", role: play ? "button" : null, tabindex: play ? -1 : null, title: unsure ? "The engine is not sure of this word" : null }, text);
      if (unsure) doubtful += 1;
      words.push({ start, end, element });
      return element;
    }));
    const from = timed && h("div", { class: "from" },
      play ? h("button", { type: "button", class: "quiet", "aria-label": `Play from ${place(timed[1])}`, on: { click: () => play(timed[1]) } }, place(timed[1])) : h("span", { class: "small muted" }, place(timed[1])),
      channel ? h("span", { class: "who" }, `Channel ${channel}`) : null);
    return h("div", { class: `part ${timed ? "" : "untimed"} ${channel ? `channel-${((channel - 1) % 3) + 1}` : ""}` }, from, said);
  });
  const inReadingOrder = words.map((word) => word.element);
  const starts = new Map(words.map((word) => [word.element, word.start]));
  words.sort((one, other) => one.start - other.start);
  const element = h("div", { class: "spoken", role: "group", "aria-label": "Transcript" }, parts);

  if (play && words.length) {
    let current = inReadingOrder[0];
    current.tabIndex = 0;
    const focus = (next) => {
      current.tabIndex = -1;
      current = next;
      current.tabIndex = 0;
      current.focus();
    };
    element.addEventListener("click", (event) => {
      const word = event.target.closest(".w");
      if (!word || getSelection().type === "Range") return;
      focus(word);
      play(starts.get(word));
    });
    element.addEventListener("keydown", (event) => {
      if (!event.target.classList.contains("w")) return;
      const at = inReadingOrder.indexOf(event.target);
      const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: inReadingOrder.length - 1 }[event.key];
      if (next !== undefined && inReadingOrder[next]) focus(inReadingOrder[next]);
      else if (event.key === "Enter" || event.key === " ") play(starts.get(event.target));
      else return;
      event.preventDefault();
    });
  }

  /** The number of the last word that starts at this time or before; -1 if there is none. */
  const lastAt = (seconds) => {
    let [low, high] = [0, words.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (words[middle].start <= seconds) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  };
  let marked = null;
  return {
    element,
    doubtful,
    mark(seconds) {
      const word = words[lastAt(seconds + 0.02)];
      const now = word && seconds > 0 && seconds <= word.end + 0.5 ? word.element : null;
      if (now === marked) return;
      marked?.classList.remove("now");
      now?.classList.add("now");
      marked = now;
    },
    wordAt: (seconds) => words[lastAt(seconds + 0.02)]?.element,
  };
}
