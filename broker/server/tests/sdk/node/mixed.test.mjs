// One topic, subscribers of both encodings, payloads of every kind.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { Broker, configWith, KEPT_TOPICS, sharedBroker } from "../support/broker.mjs";
import { Clients, result, subscribe } from "../support/clients.mjs";
import { JSON_FORM, PROTOBUF_FORM } from "../support/encodings.mjs";

const config = configWith({
  client: { message_bytes_max: "256KiB" },
  namespaces: {
    mixed: { ...KEPT_TOPICS, allowed_delta_types: ["fossil"], delta_publish: true },
  },
});
// Payloads of any bytes, as they come.
const BYTES = { ...PROTOBUF_FORM, encode: (bytes) => bytes, decode: (bytes) => Buffer.from(bytes) };

describe("a topic with JSON and Protobuf", () => {
  const shared = sharedBroker({ before, after }, () => Broker.serve({ config }));
  let clients;
  beforeEach(() => (clients = new Clients(shared.broker)));
  afterEach(() => clients.close());

  test("carries what is published from either to either, in one order", async () => {
    const forms = [JSON_FORM, PROTOBUF_FORM, JSON_FORM, PROTOBUF_FORM];
    const open = await Promise.all(forms.map((form) => clients.sdk({ form })));
    const listeners = await Promise.all(open.map((client) => subscribe(client, "mixed:all")));
    const speak = async (client, from) => {
      for (let number = 0; number < 50; number += 1) {
        const data = { from, number, text: "ü😀\n" };
        await client.publish("mixed:all", client.form.encode(data));
      }
    };
    await Promise.all(open.map(speak));
    const orders = await Promise.all(listeners.map(({ inbox }) => inbox.count(200)));
    for (const order of orders) assert.deepEqual(order, orders[0]);
    for (const from of open.keys()) {
      const numbers = orders[0].filter((each) => each.from === from).map(({ number }) => number);
      assert.deepEqual(
        numbers,
        Array.from({ length: 50 }, (_, index) => index),
      );
    }
  });

  test("brings bytes to Protobuf as they are, and to JSON as base64", async () => {
    const speaker = await clients.sdk({ form: BYTES });
    const inProtobuf = await subscribe(await clients.sdk({ form: BYTES }), "mixed:bytes");
    const inJson = await subscribe(await clients.sdk(), "mixed:bytes");
    const payloads = [
      Buffer.from([0]),
      Buffer.from([0xff, 0xfe, 0x0a, 0x00]),
      Buffer.from("{not json"),
      Buffer.from('"\ud800', "latin1"),
      randomBytes(1000),
      randomBytes(100_000),
    ];
    for (const payload of payloads) await speaker.publish("mixed:bytes", payload);
    assert.deepEqual(await inProtobuf.inbox.count(payloads.length), payloads);
    const base64 = payloads.map((bytes) => ({ b64data: bytes.toString("base64") }));
    assert.deepEqual(await inJson.inbox.count(payloads.length), base64);
    const { publications } = await result(shared.broker, "history", {
      channel: "mixed:bytes",
      limit: 2,
    });
    assert.deepEqual(
      publications.map(({ data }) => data),
      base64.slice(0, 2),
    );
    await result(shared.broker, "publish", { channel: "mixed:bytes", b64data: "AAH/" });
    assert.deepEqual((await inProtobuf.inbox.count(7))[6], Buffer.from([0, 1, 255]));
    assert.deepEqual((await inJson.inbox.count(7))[6], { b64data: "AAH/" });
  });

  test("has deltas for both, of bytes too", async () => {
    const delta = { delta: "fossil" };
    const inProtobuf = await subscribe(await clients.sdk({ form: BYTES }), "mixed:delta", delta);
    const inJson = await subscribe(await clients.sdk(), "mixed:delta", delta);
    const plain = await subscribe(await clients.sdk(), "mixed:delta");
    const speaker = await clients.sdk({ form: BYTES });
    const payloads = [];
    const bytes = randomBytes(5000);
    for (let version = 0; version < 20; version += 1) {
      bytes[version * 200] ^= 0xff;
      payloads.push(Buffer.from(bytes));
      payloads.push(Buffer.from(JSON.stringify({ version, text: "ü".repeat(1000) })));
    }
    for (const payload of payloads) await speaker.publish("mixed:delta", payload);
    assert.deepEqual(await inProtobuf.inbox.count(40), payloads);
    const expected = payloads.map((payload, index) =>
      index % 2 === 0 ? { b64data: payload.toString("base64") } : JSON.parse(payload),
    );
    assert.deepEqual(await inJson.inbox.count(40), expected);
    assert.deepEqual(await plain.inbox.count(40), expected);
  });

  test("gives Protobuf the very text that JSON clients and backends published", async () => {
    const inProtobuf = await subscribe(await clients.sdk({ form: BYTES }), "mixed:text");
    const raw = await clients.raw();
    raw.send({ id: 1, connect: {} });
    const text = '{ "b" : 1.0e5, "a":"\\u00e4" ,"c":[ ]}';
    raw.socket.send(`{"id":2,"publish":{"channel":"mixed:text","data":${text}}}`);
    await raw.reply(2);
    assert.equal((await inProtobuf.inbox.count(1))[0].toString(), text);
  });
});
