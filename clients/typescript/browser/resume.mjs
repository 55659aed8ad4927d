// In a real browser: a page follows an execution, its connection is cut on the way, and it resumes.
//
// Needs a running Stepstream (STEPSTREAM_URL, STEPSTREAM_KEY), Chromium (CHROMIUM, default
// /usr/bin/chromium) and playwright-core (PLAYWRIGHT names its folder, default: the package).

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import net from "node:net";
import { pathToFileURL } from "node:url";
import path from "node:path";

import { fresh, start, ticket, url } from "../test/server.mjs";

const place = process.env.PLAYWRIGHT;
const { chromium } = await import(
  place ? pathToFileURL(path.join(place, "index.mjs")).href : "playwright-core"
);

const root = new URL("..", import.meta.url);
const FILES = { "/": "browser/page.html" };

/** The page's own server: its files, and tickets from the key that the page never sees. */
const site = createServer(async (request, answer) => {
  try {
    if (request.method === "POST" && request.url === "/ticket") {
      answer.setHeader("content-type", "application/json");
      answer.end(JSON.stringify({ ticket: await ticket() }));
      return;
    }
    const script = /^\/dist\/[a-z]+\.js$/.test(request.url) ? request.url.slice(1) : undefined;
    const file = FILES[request.url] ?? script;
    if (file === undefined) {
      answer.writeHead(404).end();
      return;
    }
    const kind = file.endsWith(".js") ? "text/javascript" : "text/html";
    answer.setHeader("content-type", kind);
    answer.end(await readFile(new URL(file, root)));
  } catch (error) {
    answer.writeHead(500).end(String(error));
  }
});

/** A way to the server that can be cut. */
const target = new URL(url);
const open = new Set();
let accepted = 0;
const way = net.createServer((near) => {
  accepted += 1;
  const far = net.connect(Number(target.port), target.hostname);
  for (const [one, other] of [[near, far], [far, near]]) {
    open.add(one);
    one.on("error", () => other.destroy());
    one.on("close", () => {
      open.delete(one);
      other.destroy();
    });
    one.pipe(other);
  }
});

const listen = (server) =>
  new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
const cut = () => [...open].forEach((socket) => socket.destroy());

const sitePort = await listen(site);
const wayPort = await listen(way);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error("page:", error));
  await page.goto(`http://127.0.0.1:${sitePort}/`);
  const execution = fresh();
  const words = Array.from({ length: 60 }, (_, index) => `word${index}`).join(" ");
  const following = page.evaluate((what) => window.follow(what), {
    url: `http://127.0.0.1:${wayPort}`,
    execution,
  });
  await page.waitForFunction(() => window.seen?.states.includes("open"));
  await start(execution, words);
  await page.waitForFunction(() => window.seen.numbers.length > 0 || window.seen.deltas > 0);
  cut();
  const seen = await following;
  assert.deepEqual(seen.numbers, seen.numbers.map((_, index) => index + 1));
  assert.equal(seen.types.at(-1), "execution.succeeded");
  assert.equal(seen.text, seen.answer);
  assert.ok(seen.answer.length > 20, seen.answer);
  assert.deepEqual(seen.resets, []);
  assert.ok(accepted >= 2, `${accepted} connections`);
  assert.ok(seen.states.includes("waiting"), seen.states.join());
  const shown = await page.textContent("#text");
  assert.equal(shown, seen.answer);
  if (process.env.SCREENSHOT) {
    await page.screenshot({ path: process.env.SCREENSHOT });
  }
  console.log(JSON.stringify({ connections: accepted, events: seen.numbers.length, deltas: seen.deltas }));
} finally {
  await browser.close();
  cut();
  way.close();
  site.close();
}
