// Plays a recording.

import { h, fill, icon } from "./dom.js";
import { place } from "./format.js";

const PLAY = "M7 4.5v15l13-7.500z";
const PAUSE = "M6 4.500h4v15H6zM14 4.500h4v15h-4z";
const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 2];

/**
 * A player. `renewed` returns a new address when the old one has expired; `moved` gets each place in seconds.
 * @returns {{element: HTMLElement, playFrom: function(number), stop: function()}}
 */
export function makePlayer({ url, seconds, renewed, moved }) {
  const audio = h("audio", { preload: "metadata" });
  audio.src = url;
  const play = h("button", { type: "button", class: "play first", "aria-label": "Play", on: { click: () => (audio.paused ? audio.play() : audio.pause()) } }, icon(PLAY));
  const time = h("span", { class: "time" });
  const slider = h("input", { type: "range", min: 0, max: Math.max(seconds, 0.1), step: 0.1, value: 0, "aria-label": "Place in the recording" });
  const speed = h("select", { "aria-label": "Speed", on: { change: () => { audio.playbackRate = Number(speed.value); } } },
    SPEEDS.map((value) => h("option", { value, selected: value === 1 }, `${value}×`)));
  const problem = h("span", { class: "has-bad small", role: "alert" });

  const draw = () => {
    const total = Number.isFinite(audio.duration) ? audio.duration : seconds;
    slider.max = Math.max(total, 0.1);
    slider.value = audio.currentTime;
    slider.setAttribute("aria-valuetext", `${place(audio.currentTime)} of ${place(total)}`);
    fill(time, `${place(audio.currentTime)} / ${place(total)}`);
    moved(audio.currentTime);
  };
  let frame = 0;
  const follow = () => {
    draw();
    frame = audio.paused ? 0 : requestAnimationFrame(follow);
  };
  const show = (path, label) => {
    fill(play, icon(path));
    play.setAttribute("aria-label", label);
  };
  audio.addEventListener("play", () => { show(PAUSE, "Pause"); if (!frame) follow(); });
  audio.addEventListener("pause", () => { show(PLAY, "Play"); draw(); });
  audio.addEventListener("loadedmetadata", draw);
  audio.addEventListener("seeked", draw);
  slider.addEventListener("input", () => { audio.currentTime = Number(slider.value); });

  let lastRenewal = 0;
  audio.addEventListener("error", async () => {
    const expired = Date.now() - lastRenewal > 60_000;
    lastRenewal = Date.now();
    const fresh = expired ? await renewed().catch(() => null) : null;
    if (!fresh) {
      fill(problem, "This browser cannot play the audio. Download it instead.");
      return;
    }
    const from = audio.currentTime;
    audio.src = fresh;
    audio.currentTime = from;
  });

  draw();
  return {
    element: h("div", { class: "player", role: "group", "aria-label": "Player" }, play, slider, time, speed, problem, audio),
    playFrom(from) {
      audio.currentTime = from;
      audio.play().catch(() => {}); // a browser may want a click first
    },
    moveTo(from) {
      audio.currentTime = from;
    },
    stop() {
      audio.pause();
      audio.removeAttribute("src");
    },
  };
}
