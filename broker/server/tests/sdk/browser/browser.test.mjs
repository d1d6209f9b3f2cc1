// The SDK's browser build in a real Chromium page, whose origin is not the broker's.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, afterEach, before, describe, test } from "node:test";

import WebSocket from "ws";

import { Broker, OPEN_CONFIG } from "../support/broker.mjs";
import { launchChromium, PageServer } from "../support/chromium.mjs";
import { callApi, Clients, subscribe } from "../support/clients.mjs";
import { LIMIT_MS, within } from "../support/wait.mjs";

describe("a page in Chromium", () => {
  let chromium;
  let server;
  let open = [];
  before(async () => {
    server = await PageServer.start();
    chromium = await launchChromium();
  });
  after(async () => {
    await chromium?.close();
    await server?.stop();
  });
  afterEach(async () => {
    for (const close of open.reverse()) await close();
    open = [];
  });

  const startBroker = async (start) => {
    const broker = await start();
    open.push(() => broker.stop());
    return broker;
  };
  const openPage = async () => {
    const page = await chromium.newPage();
    page.setDefaultTimeout(LIMIT_MS);
    open.push(() => page.close());
    await page.goto(server.origin);
    return page;
  };
  // What a page is asked has no time limit of its own.
  const ask = (page, question, argument) =>
    within(page.evaluate(question, argument), `the page answers ${question}`);
  const heard = (page, topic, count) =>
    ask(page, ([name, wanted]) => window.page.untilHeard(name, wanted), [topic, count]);

  test("connects, subscribes, publishes and receives", async () => {
    const broker = await startBroker(() => Broker.dev());
    const page = await openPage();
    const { client, transport } = await ask(page, connectPage, broker.websocket);
    assert.equal(transport, "websocket");
    assert.match(client, /^[0-9a-f-]{36}$/);
    await ask(page, () => window.page.subscribe("news"));
    await ask(page, () => window.page.publish("news", { from: "the page" }));
    await callApi(broker, "publish", { channel: "news", data: { from: "the backend" } });
    assert.deepEqual(await heard(page, "news", 2), [
      { from: "the page" },
      { from: "the backend" },
    ]);
  });

  test("hears 500 publications in order, and so do other pages and Node", async () => {
    const broker = await startBroker(() => Broker.dev());
    const clients = new Clients(broker);
    open.push(() => clients.close());
    const pages = [await openPage(), await openPage()];
    for (const page of pages) {
      await ask(page, connectPage, broker.websocket);
      await ask(page, () => window.page.subscribe("many"));
    }
    const inNode = await subscribe(await clients.sdk(), "many");
    const expected = Array.from({ length: 500 }, (_, index) => index);
    await Promise.all(expected.map((index) => inNode.publish(index)));
    for (const page of pages) assert.deepEqual(await heard(page, "many", 500), expected);
    assert.deepEqual(await inNode.inbox.count(500), expected);
  });

  test("is told why it was disconnected", async () => {
    const broker = await startBroker(() => Broker.dev());
    const page = await openPage();
    const { client } = await ask(page, connectPage, broker.websocket);
    await callApi(broker, "disconnect", { user: "", client });
    const gone = await ask(page, () => window.page.event("disconnected", 0));
    assert.deepEqual(gone, { code: 3503, reason: "force disconnect" });
  });

  test("finds the next broker on the port", async () => {
    const first = await startBroker(() => Broker.serve());
    const page = await openPage();
    await ask(page, connectPage, first.websocket);
    await ask(page, () => window.page.subscribe("resume"));
    await first.stop();
    const lost = await ask(page, () => window.page.event("connecting", 1));
    assert.deepEqual(lost, { code: 3001, reason: "shutdown" });
    const second = await startBroker(() => Broker.serve({ port: first.port }));
    await ask(page, () => window.page.event("connected", 1));
    await ask(page, () => window.page.publish("resume", "here again"));
    assert.deepEqual(await heard(page, "resume", 1), ["here again"]);
    assert.equal(second.port, first.port);
  });

  test("of an origin that is not allowed is refused with 403", async () => {
    const client = { ...OPEN_CONFIG.client, allowed_origins: [] };
    const config = { ...OPEN_CONFIG, client };
    const broker = await startBroker(() => Broker.serve({ config }));
    const page = await openPage();
    const { failed } = await ask(page, connectPage, broker.websocket);
    assert.ok(failed, "the page does not get in");
    assert.equal(await upgradeStatus(broker, server.origin), 403);
    assert.equal(await upgradeStatus(broker, undefined), 101);
  });

  test("of an allowed origin gets in, and no other", async () => {
    const client = { ...OPEN_CONFIG.client, allowed_origins: [server.origin] };
    const config = { ...OPEN_CONFIG, client };
    const broker = await startBroker(() => Broker.serve({ config }));
    const page = await openPage();
    const context = await ask(page, connectPage, broker.websocket);
    assert.equal(context.transport, "websocket");
    assert.equal(await upgradeStatus(broker, server.origin), 101);
    assert.equal(await upgradeStatus(broker, "http://elsewhere.example"), 403);
    assert.equal(await upgradeStatus(broker, `${server.origin}.elsewhere.example`), 403);
  });
});

const connectPage = (url) => window.page.connect(url);

/** The HTTP status of an upgrade from that origin. */
async function upgradeStatus(broker, origin) {
  const socket = new WebSocket(broker.websocket, { origin });
  const [answer] = await Promise.race([
    once(socket, "upgrade"),
    once(socket, "unexpected-response").then(([, response]) => [response]),
  ]);
  socket.on("error", () => {});
  socket.terminate();
  return answer.statusCode;
}
