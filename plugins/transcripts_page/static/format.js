// Figures and times as text, in the reader's own time zone.

const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", year: "numeric" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

export const count = (number) => number.toLocaleString("en-US");

/** A number with its noun: `1 recording`, `12 recordings`. */
export const counted = (number, noun, nouns = `${noun}s`) => `${count(number)} ${number === 1 ? noun : nouns}`;

/** Hours of audio: minutes below an hour, seconds below a minute. */
export function hours(value) {
  const seconds = value * 3600;
  if (seconds >= 36000) return `${count(Math.round(value))} h`;
  if (seconds >= 3600) return `${value.toFixed(1)} h`;
  if (seconds >= 60) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds)} s`;
}

export function usd(value) {
  if (value === 0) return "$0";
  return value < 0.01 ? "< $0.01" : `$${value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

export const day = (iso) => DAY.format(new Date(iso));
export const clock = (iso) => CLOCK.format(new Date(iso));
export const moment = (iso) => `${day(iso)}, ${clock(iso)}`;

/** A place in the audio: `1:02:03` or `2:03`. */
export function place(seconds) {
  const whole = Math.floor(seconds);
  const [hour, minute, second] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hour ? `${hour}:${two(minute)}:${two(second)}` : `${minute}:${two(second)}`;
}

/** How long something takes: `1.4 s`, `45 s`, `12 min`, `3 h 5 min`. */
export function lasting(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60 ? `${minutes % 60} min` : ""}`.trim();
}

export function bytes(size) {
  if (size < 1e6) return `${Math.max(1, Math.round(size / 1e3))} kB`;
  return size < 1e9 ? `${(size / 1e6).toFixed(1)} MB` : `${(size / 1e9).toFixed(2)} GB`;
}
