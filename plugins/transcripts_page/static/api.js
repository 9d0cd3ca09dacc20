// The requests to the page's server and to Airflow's REST API. Both take Airflow's cookie.

/** A refused or failed request. `status` is 0 if the server cannot be reached; `body` is its answer as JSON, or null. */
export class RequestError extends Error {
  constructor(message, status, body) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

const OWN = { "X-Transcripts-Page": "1" };
const DAG = "../api/v2/dags/transcription";

async function request(url, options = {}) {
  let answer;
  try {
    answer = await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestError("Airflow's server cannot be reached. Check the connection and try again.", 0, null);
  }
  const body = (answer.headers.get("Content-Type") || "").includes("json") ? await answer.json() : await answer.text();
  if (answer.ok) return body;
  throw new RequestError(told(answer.status, body), answer.status, typeof body === "string" ? null : body);
}

function told(status, body) {
  if (status === 401) return "You are signed out. Reload Airflow to sign in again.";
  const detail = body && body.detail;
  if (typeof detail === "string") return status === 403 ? `You may not do this. ${detail === "Forbidden" ? "" : detail}`.trim() : detail;
  if (Array.isArray(detail) && detail.length) return detail.map((item) => item.msg).join(" ");
  if (detail && typeof detail.reason === "string") return detail.reason;
  return `Airflow's server answered with the status ${status}.`;
}

function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

const json = (body) => ({
  method: "POST",
  headers: { "Content-Type": "application/json", ...OWN },
  body: JSON.stringify(body),
});

/** GET from the page's server. */
export const read = (path, parameters = {}, signal = undefined) => request(`api/${path}${query(parameters)}`, { signal });

/** POST to the page's server. */
export const act = (path, body) => request(`api/${path}`, json(body));

/** The address of a download. */
export const address = (path, parameters) => `api/${path}${query(parameters)}`;

/** Airflow's newest runs of the DAG. */
export const airflowRuns = (limit, offset = 0) => request(`${DAG}/dagRuns${query({ limit, offset, order_by: "-run_after" })}`);

/** One of Airflow's runs, or null if Airflow does not know it. */
export async function airflowRun(runId) {
  try {
    return await request(`${DAG}/dagRuns/${encodeURIComponent(runId)}`);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** What the task `plan` of a run planned, or null if there is no plan. */
export async function planOf(runId) {
  try {
    const path = `${DAG}/dagRuns/${encodeURIComponent(runId)}/taskInstances/plan/xcomEntries/return_value`;
    const { value } = await request(path);
    return typeof value === "string" ? JSON.parse(value) : value;
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** Start a run with these params. */
export const start = (conf) => request(`${DAG}/dagRuns`, json({ logical_date: null, conf }));

/** Whether the DAG is switched off, so that runs only wait. */
export const isPaused = async () => (await request(DAG)).is_paused;
