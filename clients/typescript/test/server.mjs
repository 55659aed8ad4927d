// A running Stepstream, as the environment names it, and a few calls of its HTTP API.

export const url = process.env.STEPSTREAM_URL;
export const key = process.env.STEPSTREAM_KEY;
export const model = process.env.STEPSTREAM_MODEL ?? "demo";

if (!url || !key) {
  throw new Error("STEPSTREAM_URL and STEPSTREAM_KEY name a running Stepstream");
}

async function post(path, body) {
  const answer = await fetch(url + path, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) {
    throw new Error(`${path}: ${answer.status} ${text}`);
  }
  return JSON.parse(text);
}

export async function ticket(session_seconds) {
  return (await post("/v1/tickets", session_seconds ? { session_seconds } : {})).ticket;
}

/** Starts a streamed chat under this id. */
export async function start(id, prompt) {
  const body = { messages: [{ role: "user", content: prompt }] };
  await post("/v1/requests", { id, model, stream: true, body });
}

export function fresh() {
  return `ts-${crypto.randomUUID()}`;
}

/** What the server itself says of the execution, when it has ended. */
export async function ended(id) {
  for (let tries = 0; tries < 400; tries += 1) {
    const headers = { authorization: `Bearer ${key}` };
    const answer = await fetch(`${url}/v1/executions/${id}`, { headers });
    const execution = answer.ok ? await answer.json() : {};
    if (["succeeded", "failed", "cancelled", "timed_out"].includes(execution.status)) {
      return execution;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${id} did not end`);
}
