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
export async function start(id, prompt, of = model) {
  const body = { messages: [{ role: "user", content: prompt }] };
  await post("/v1/requests", { id, model: of, stream: true, body });
}

/** Makes a model that carries out one call at a time, each in about a second and a half; its name. */
export async function narrowModel() {
  const name = `narrow-${crypto.randomUUID()}`;
  const reply = Array.from({ length: 15 }, (_, word) => `word${word}`).join(" ");
  const script = { rules: [{ reply, tokens_per_second: 10 }] };
  const deployment = { name: "one", provider: "scripted", model: "m", concurrency: 1, script };
  const answer = await fetch(`${url}/v1/definitions/models/${name}`, {
    method: "PUT",
    headers: {
      authorization: `Bearer ${key}`,
      "content-type": "application/json",
      "if-none-match": "*",
    },
    body: JSON.stringify({ deployments: [deployment] }),
  });
  if (answer.status !== 201) {
    throw new Error(`${name}: ${answer.status} ${await answer.text()}`);
  }
  return name;
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
