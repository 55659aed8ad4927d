// What users of the `openai` package for Node do. Arguments: base URL, key, model, model that calls a tool,
// model that takes its time.
const assert = require("node:assert");
const { OpenAI } = require("openai");

const [url, key, model, tooled, slow] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 });
const messages = [{ role: "user", content: "Ahoy there" }];
const parameters = { type: "object", properties: { city: { type: "string" } } };
const all = async (stream) => { const found = []; for await (const one of stream) found.push(one); return found; };
const textOf = (events) =>
  events.filter((e) => e.type === "response.output_text.delta").map((e) => e.delta).join("");

(async () => {
  // Chat: streamed, whole, with usage and with tools.
  const chunks = await all(await client.chat.completions.create(
    { model, messages, stream: true, stream_options: { include_usage: true } }));
  const text = chunks.map((c) => c.choices[0]?.delta.content ?? "").join("");
  assert.match(text, /Ahoy there/);
  assert.equal(chunks.at(-1).usage.prompt_tokens, 2);
  const whole = await client.chat.completions.create({ model, messages });
  assert.equal(whole.choices[0].message.content, text);
  const tools = [{ type: "function", function: { name: "weather", parameters } }];
  const called = await client.chat.completions.create({ model: tooled, messages, tools });
  const call = called.choices[0].message.tool_calls[0];
  assert.equal(call.function.name, "weather");
  const final = await client.chat.completions.stream({ model: tooled, messages, tools }).finalChatCompletion();
  assert.equal(final.choices[0].message.tool_calls[0].function.arguments, call.function.arguments);

  // Embeddings and models.
  assert.equal((await client.embeddings.create({ model, input: "Ahoy" })).data[0].embedding.length, 8);
  assert.ok((await all(await client.models.list())).some((m) => m.id === model));

  // Responses: whole, streamed, with tools, gone on from, in the background, resumed, cancelled.
  const response = await client.responses.create({ model, input: "Ahoy there" });
  assert.equal(response.status, "completed");
  assert.equal(response.output_text, text);
  const events = await all(await client.responses.create({ model, input: "Ahoy there", stream: true }));
  assert.equal(events[0].type, "response.created");
  assert.equal(events.at(-1).type, "response.completed");
  assert.equal(textOf(events), text);
  const streamed = await client.responses.stream({ model, input: "Ahoy there" }).finalResponse();
  assert.equal(streamed.output_text, text);
  const functions = [{ type: "function", name: "weather", parameters, strict: false }];
  const first = await client.responses.create({ model: tooled, input: "Ahoy", tools: functions });
  const asked = first.output.find((item) => item.type === "function_call");
  const second = await client.responses.create({ model, previous_response_id: first.id, input: [
    { type: "function_call_output", call_id: asked.call_id, output: "sunny" }] });
  assert.equal(second.previous_response_id, first.id);
  const back = await client.responses.create({ model, input: "Ahoy there", background: true });
  assert.ok(["queued", "in_progress"].includes(back.status));
  const live = await all(await client.responses.retrieve(back.id, { stream: true }));
  assert.equal(textOf(live), text);
  const half = live[Math.floor(live.length / 2)].sequence_number;
  const rest = await all(await client.responses.retrieve(back.id, { stream: true, starting_after: half }));
  assert.equal(textOf(live.filter((e) => e.sequence_number <= half)) + textOf(rest), text);
  const waits = await client.responses.create({ model: slow, input: "Ahoy", background: true });
  assert.equal((await client.responses.cancel(waits.id)).status, "cancelled");

  // Errors.
  await assert.rejects(client.chat.completions.create({ model: "nobody", messages }), OpenAI.NotFoundError);
  await assert.rejects(client.responses.create({ model, input: [] }), OpenAI.BadRequestError);
  console.log("ok");
})().catch((error) => { console.error(error); process.exit(1); });
