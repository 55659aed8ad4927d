// The client against a running Stepstream.

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect, isExecutionEvent, isQueuePlace, isTerminal } from "../dist/index.js";
import { ended, fresh, key, narrowModel, start, ticket, url } from "./server.mjs";

const PROMPT = "one two three four five six seven eight nine ten";
const limit = { timeout: 60_000 };

/** Reads a subscription to its end: numbers of events, and the text. */
async function read(subscription, each = () => {}) {
  const seen = { numbers: [], types: [], text: "", resets: [], answer: undefined };
  for await (const item of subscription) {
    if (item.type === "reset") {
      seen.resets.push(item.reason);
      seen.numbers = [];
    } else if (item.type === "output.delta") {
      seen.text += item.kind === "text" ? item.text : "";
    } else if (item.type === "output.reset") {
      seen.text = "";
    } else if (isExecutionEvent(item)) {
      seen.numbers.push(item.number);
      seen.types.push(item.type);
      if (isTerminal(item)) {
        seen.answer = item.data;
      }
    }
    await each(item);
  }
  return seen;
}

function rising(numbers) {
  assert.deepEqual(numbers, numbers.map((_, index) => index + 1));
}

test("an execution comes live, once and in order, to its end", limit, async () => {
  const client = connect({ url, key });
  const id = fresh();
  const subscription = client.subscribe({ execution: id });
  await start(id, PROMPT);
  const seen = await read(subscription);
  rising(seen.numbers);
  assert.equal(seen.types.at(-1), "execution.succeeded");
  assert.equal(seen.text, seen.answer.choices[0].message.content);
  assert.ok(seen.text.includes(PROMPT));
  client.close();
});

test("an execution that has ended comes from history", limit, async () => {
  const id = fresh();
  await start(id, PROMPT);
  const execution = await ended(id);
  const client = connect({ url, key });
  const seen = await read(client.subscribe({ execution: id }));
  rising(seen.numbers);
  assert.equal(seen.numbers.at(-1), execution.position.number);
  client.close();
});

test("cut again and again, nothing is lost or doubled", limit, async () => {
  const client = connect({ url, key, minDelay: 5, maxDelay: 20 });
  const id = fresh();
  const subscription = client.subscribe({ execution: id });
  await start(id, PROMPT);
  let cuts = 0;
  const seen = await read(subscription, () => {
    cuts += 1;
    client.interrupt();
  });
  rising(seen.numbers);
  assert.ok(cuts > 3, `${cuts}`);
  assert.deepEqual(seen.resets, []);
  assert.equal(seen.types.at(-1), "execution.succeeded");
  const whole = seen.answer.choices[0].message.content;
  // Text that the server no longer remembers is reset; what is there is never doubled.
  assert.ok(whole.startsWith(seen.text), seen.text);
  client.close();
});

test("a place from elsewhere is reset and everything told", limit, async () => {
  const id = fresh();
  await start(id, PROMPT);
  await ended(id);
  const client = connect({ url, key });
  const seen = await read(
    client.subscribe({ execution: id }, { after: { generation: 9, number: 99 } }),
  );
  assert.deepEqual(seen.resets, ["unknown_position"]);
  rising(seen.numbers);
  client.close();
});

test("a ticket of one's own server opens the connection, each time", limit, async () => {
  let fetched = 0;
  const getTicket = () => {
    fetched += 1;
    return ticket();
  };
  const client = connect({ url, getTicket, minDelay: 5, maxDelay: 20 });
  const id = fresh();
  const subscription = client.subscribe({ execution: id });
  await start(id, PROMPT);
  let cut = false;
  const seen = await read(subscription, () => {
    if (!cut) {
      cut = true;
      client.interrupt();
    }
  });
  rising(seen.numbers);
  assert.ok(fetched >= 2, `${fetched}`);
  client.close();
});

test("the tenant's events come by callback, filtered", limit, async () => {
  const client = connect({ url, key });
  const id = fresh();
  await new Promise((resolve, reject) => {
    const subscription = client.subscribe(
      { filter: { kind: "model", type: "execution.succeeded" } },
      {
        onEvent: (event) => {
          assert.equal(event.type, "execution.succeeded");
          if (event.execution_id === id) {
            subscription.stop();
            resolve();
          }
        },
        onEnd: (error) => error && reject(error),
      },
    );
    // A feed begins when the server has it: the execution is started after another one was seen whole.
    const earlier = fresh();
    start(earlier, PROMPT)
      .then(() => read(client.subscribe({ execution: earlier })))
      .then(() => start(id, PROMPT))
      .catch(reject);
  });
  client.close();
});

test("a call that waits says where, and that is nothing to resume after", limit, async () => {
  const client = connect({ url, key });
  const model = await narrowModel();
  const [first, second] = [fresh(), fresh()];
  await start(first, PROMPT, model);
  // The one place is taken when the first call speaks.
  for await (const item of client.subscribe({ execution: first })) {
    if (item.type === "output.delta") {
      break;
    }
  }
  const subscription = client.subscribe({ execution: second });
  await start(second, PROMPT, model);
  const places = [];
  const seen = await read(subscription, (item) => {
    if (isQueuePlace(item)) {
      places.push(item.position);
      // The word where it waits may come before the first event.
      const { position } = subscription;
      const ofEvents = position === "start" || Number.isInteger(position.number);
      assert.ok(ofEvents && position.output === undefined, JSON.stringify(position));
    }
  });
  assert.deepEqual(places, [1, 0]);
  rising(seen.numbers);
  assert.equal(seen.text, seen.answer.choices[0].message.content);
  client.close();
});

test("a key that isn't good ends the subscription with the reason", limit, async () => {
  const client = connect({ url, key: "sk-ss-no" });
  const subscription = client.subscribe({ execution: fresh() });
  await assert.rejects(read(subscription), { code: "4001" });
});

test("a newer connection of the same name replaces the older", limit, async () => {
  const name = fresh();
  let older;
  await new Promise((resolve) => {
    const onState = (state) => state === "open" && resolve();
    older = connect({ url, key, client: name, onState });
  });
  const subscription = older.subscribe({ execution: fresh() });
  const newer = connect({ url, key, client: name });
  await assert.rejects(read(subscription), { code: "4009" });
  newer.close();
});
