// Well-formed dialogues by hand: exact shapes, many commands in a frame, pings.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import WebSocket from "ws";

import { Broker, OPEN_CONFIG, sharedBroker } from "../support/broker.mjs";
import { Clients, subscribe } from "../support/clients.mjs";
import { event, within } from "../support/wait.mjs";

let clients;

describe("the protocol by hand", () => {
  const shared = sharedBroker({ before, after });
  beforeEach(() => (clients = new Clients(shared.broker)));
  afterEach(() => clients.close());

  test("commands of one frame are answered in their order", async () => {
    const client = await clients.raw();
    const topics = Array.from({ length: 20 }, (_, index) => `many${index}`);
    client.send(
      { id: 1, connect: {} },
      ...topics.map((channel, index) => ({ id: 2 + index, subscribe: { channel } })),
      { id: 30, publish: { channel: "many5", data: { x: 1 } } },
      { id: 31, unsubscribe: { channel: "many3" } },
      { id: 32, presence: { channel: "many4" } },
    );
    await client.reply(32);
    const replies = client.inbox.items.filter((message) => message.id);
    const { connect } = replies.shift();
    assert.equal(typeof connect.client, "string");
    assert.deepEqual(replies, [
      ...topics.map((_, index) => ({ id: 2 + index, subscribe: {} })),
      { id: 30, publish: {} },
      { id: 31, unsubscribe: {} },
      { id: 32, error: { code: 108, message: "not available" } },
    ]);
    const pushes = client.inbox.items.filter((message) => !message.id);
    assert.equal(pushes.length, 1);
    assert.deepEqual(pushes[0], {
      push: {
        channel: "many5",
        pub: { data: { x: 1 }, info: { user: "", client: connect.client } },
      },
    });
  });

  test("refusals are answers and the connection lives", async () => {
    const client = await clients.raw();
    client.send(
      { id: 1, connect: {} },
      { id: 2, subscribe: { channel: "twice" } },
      { id: 3, subscribe: { channel: "twice" } },
      { id: 4, subscribe: { channel: "x".repeat(256) } },
      { id: 5, publish: { channel: "twice" } },
      { id: 6, unsubscribe: { channel: "never subscribed" } },
      { id: 7, rpc: { method: "m" } },
      { id: 8, history: { channel: "twice", limit: 1 } },
      { id: 9, presence_stats: { channel: "twice" } },
      { id: 10, publish: { channel: "nosuch:x", data: 1 } },
      { id: 11, subscribe: { channel: "x".repeat(255) } },
    );
    await client.reply(11);
    const answers = client.inbox.items.slice(1).map(({ id, error, ...rest }) => [
      id,
      error?.code ?? Object.keys(rest)[0],
    ]);
    assert.deepEqual(answers, [
      [2, "subscribe"],
      [3, 105],
      [4, 107],
      [5, 107],
      [6, "unsubscribe"],
      [7, 108],
      [8, 108],
      [9, 108],
      [10, 102],
      [11, "subscribe"],
    ]);
  });

  test("after the reply to unsubscribe nothing of the topic comes", async () => {
    // By hand, because the SDK would drop what comes too late.
    const [client, speaker] = [await clients.raw(), await clients.sdk()];
    client.send({ id: 1, connect: {} }, { id: 2, subscribe: { channel: "left" } });
    await client.reply(2);
    let speaking = true;
    const speak = async () => {
      for (let sequence = 0; speaking; sequence += 1) await speaker.publish("left", sequence);
    };
    const spoken = speak();
    await client.inbox.count(50);
    client.send({ id: 3, unsubscribe: { channel: "left" } });
    await client.reply(3);
    const { length } = client.inbox.items;
    speaking = false;
    await spoken;
    client.send({ id: 4, subscribe: { channel: "left" } });
    await client.reply(4);
    await speaker.publish("left", "after");
    await client.inbox.count(length + 2);
    const rest = client.inbox.items.slice(length);
    assert.deepEqual(rest[0], { id: 4, subscribe: {} });
    assert.equal(rest[1].push.pub.data, "after");
    assert.deepEqual(client.inbox.items[length - 1], { id: 3, unsubscribe: {} });
  });

  test("the subprotocol centrifuge-json is echoed, an unknown one is not", async () => {
    const headers = { "Sec-WebSocket-Protocol": "centrifuge-json" };
    const json = await clients.raw({ headers }).catch((error) => error);
    // The package `ws` refuses a subprotocol in the answer that it did not offer itself, and that
    // refusal is the proof of the echo.
    assert.match(String(json.message), /subprotocol/);
    const none = await clients.raw({ headers: { "Sec-WebSocket-Protocol": "unknown" } });
    assert.equal(none.socket.protocol, "");
    none.send({ id: 1, connect: {} });
    assert.ok((await none.reply(1)).connect);
  });
});

describe("pings", () => {
  const env = { FANWIRE_CLIENT_PING_INTERVAL: "1s", FANWIRE_CLIENT_PONG_TIMEOUT: "500ms" };
  const start = () => Broker.serve({ env, config: OPEN_CONFIG });
  const shared = sharedBroker({ before, after }, start);
  beforeEach(() => (clients = new Clients(shared.broker)));
  afterEach(() => clients.close());

  test("answered by the SDK keep the connection", async () => {
    const pings = { count: 0 };
    const threePings = new Promise((resolve) => (pings.resolve = resolve));
    const client = await clients.sdk({ websocket: countingWebSocket(pings) });
    let disturbed = false;
    client.on("connecting", () => (disturbed = true));
    client.on("disconnected", () => (disturbed = true));
    const subscription = await subscribe(client, "alive");
    await within(threePings, "three pings");
    await client.publish("alive", 1);
    await subscription.inbox.count(1);
    assert.equal(disturbed, false);
  });

  test("not answered end the connection with 3012", async () => {
    const silent = await clients.raw({ pong: false });
    silent.send({ id: 1, connect: {} });
    const { connect } = await silent.reply(1);
    assert.equal(connect.ping, 1);
    assert.deepEqual(await silent.end(), { code: 3012, reason: "no pong" });
    assert.equal(silent.pings.items.length, 1);
  });

  test("come although other traffic flows", async () => {
    const client = await clients.raw();
    client.send({ id: 1, connect: {} }, { id: 2, subscribe: { channel: "noise" } });
    const noise = setInterval(() => {
      client.send({ id: 3, publish: { channel: "noise", data: 1 } });
    }, 20);
    await client.pings.count(2).finally(() => clearInterval(noise));
  });

  test("are WebSocket pings for a client that asks for them", async () => {
    const client = await clients.raw({ query: "?cf_ws_frame_ping_pong=true" });
    const native = event(client.socket, "ping");
    client.send({ id: 1, connect: {} });
    const { connect } = await client.reply(1);
    assert.equal(connect.ping, undefined);
    assert.equal(connect.pong, undefined);
    await native;
    assert.equal(client.pings.items.length, 0);
  });
});

/** The WebSocket of the package `ws`, counting the pings of the broker. */
function countingWebSocket(pings) {
  return class extends WebSocket {
    constructor(...parameters) {
      super(...parameters);
      this.addEventListener("message", ({ data }) => {
        const count = String(data).split("\n").filter((line) => line === "{}").length;
        pings.count += count;
        if (pings.count >= 3) pings.resolve();
      });
    }
  };
}
