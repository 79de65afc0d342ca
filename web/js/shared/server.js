/** Asking the pack's part of the server. */
import { api } from "../../../../scripts/api.js";

async function answerOf(asked) {
  const answer = await asked;
  if (!answer.ok) throw new Error(`${answer.status} ${(await answer.text()).slice(0, 200)}`);
  return answer.json();
}

/** What the server answers to `body`; `how` as of `fetch`. Throws when it does not answer, or refuses. */
export function post(path, body, how = {}) {
  const headers = { "Content-Type": "application/json" };
  return answerOf(api.fetchApi(path, { ...how, method: "POST", headers, body: JSON.stringify(body) }));
}

export function get(path) {
  return answerOf(api.fetchApi(path));
}
