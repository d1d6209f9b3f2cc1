// permessage-deflate with npm `ws`: the same messages, fewer bytes.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import WebSocket from "ws";

import { Broker, configWith, KEPT_TOPICS, sharedBroker } from "../support/broker.mjs";
import { Clients, result, subscribe } from "../support/clients.mjs";
import { FORMS } from "../support/encodings.mjs";
import { eventually } from "../support/wait.mjs";

const config = configWith({
  client: { compression: true, message_bytes_max: "1MiB", outbox_bytes_max: "8MiB" },
  namespaces: {
    kept: { ...KEPT_TOPICS, allowed_delta_types: ["fossil"], delta_publish: true },
  },
});

/** A WebSocket class that offers these parameters. */
const offering = (perMessageDeflate) =>
  class extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols, { perMessageDeflate });
    }
  };

const OFFERS = {
  nothing: false,
  everything: true,
  "to compress everything itself": { threshold: 0 },
  "a small window": { serverMaxWindowBits: 9, clientMaxWindowBits: 9, threshold: 0 },
  "no context": { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 0 },
};

const documents = () => [
  1,
  "",
  "x".repeat(127),
  "ü".repeat(2000),
  { list: Array.from({ length: 500 }, (_, id) => ({ id, name: `name ${id}`, text: "ü 😀" })) },
  randomBytes(3000).toString("base64"),
  "big ".repeat(120_000),
  randomBytes(300_000).toString("base64"),
  null,
];

for (const form of FORMS) {
  describe(`compression, ${form.name}`, () => {
    const shared = sharedBroker({ before, after }, () => Broker.serve({ config }));
    let clients;
    beforeEach(() => (clients = new Clients(shared.broker)));
    afterEach(() => clients.close());

    test("changes nothing of what anybody hears, whatever was agreed on", async () => {
      const listeners = [];
      for (const offer of Object.values(OFFERS)) {
        for (const options of [{}, { delta: "fossil" }]) {
          const client = await clients.sdk({ form, websocket: offering(offer) });
          listeners.push({ client, subscription: await subscribe(client, "kept:all", options) });
        }
      }
      const expected = [];
      for (const { client } of listeners.filter((_, index) => index % 2 === 0)) {
        for (const data of documents()) {
          await client.publish("kept:all", form.encode(data));
          expected.push(data);
        }
      }
      for (const { subscription } of listeners) {
        assert.deepEqual(await subscription.inbox.count(expected.length), expected);
      }
    });

    test("is for recovered publications too", async () => {
      const data = documents();
      for (const each of data) {
        await result(shared.broker, "publish", { channel: "kept:past", data: each });
      }
      const { epoch } = await result(shared.broker, "history", { channel: "kept:past" });
      for (const offer of Object.values(OFFERS)) {
        const client = await clients.sdk({ form, websocket: offering(offer) });
        const since = { offset: 0, epoch };
        const listener = await subscribe(client, "kept:past", { since });
        assert.deepEqual(await listener.inbox.count(data.length), data);
      }
    });
  });
}

describe("compression by hand", () => {
  const shared = sharedBroker({ before, after }, () => Broker.serve({ config }));
  const plain = sharedBroker({ before, after }, () =>
    Broker.serve({ config: configWith({ namespaces: { kept: KEPT_TOPICS } }) }),
  );

  test("is agreed on where it is switched on, without context", async (context) => {
    const clients = Clients.of(shared.broker, context);
    const others = Clients.of(plain.broker, context);
    const { socket } = await clients.raw({ perMessageDeflate: true });
    const { params } = socket._extensions["permessage-deflate"];
    assert.equal(params.server_no_context_takeover, true);
    assert.equal(params.client_no_context_takeover, true);
    assert.equal((await clients.raw({ perMessageDeflate: false })).socket.extensions, "");
    assert.equal((await others.raw({ perMessageDeflate: true })).socket.extensions, "");
  });

  test("saves most bytes of large texts, and none of small ones", async (context) => {
    const clients = Clients.of(shared.broker, context);
    const pair = [true, false].map(async (perMessageDeflate) => {
      const raw = await clients.raw({ perMessageDeflate });
      raw.send({ id: 1, connect: {} }, { id: 2, subscribe: { channel: "kept:bytes" } });
      await raw.reply(2);
      return raw;
    });
    const both = await Promise.all(pair);
    let count = 0;
    // Bytes of the wire that one publication cost: with compression, without.
    const cost = async (data) => {
      const before = both.map(({ socket }) => socket._socket.bytesRead);
      await result(shared.broker, "publish", { channel: "kept:bytes", data });
      count += 1;
      for (const raw of both) {
        const heard = await raw.publications("kept:bytes", count);
        assert.deepEqual(heard.at(-1).data, data);
      }
      const bytes = both.map(({ socket }, index) => socket._socket.bytesRead - before[index]);
      return { compressed: bytes[0], plain: bytes[1] };
    };
    const small = await cost({ a: 1 });
    assert.equal(small.compressed, small.plain);
    const large = await cost(documents()[4]);
    assert.ok(large.compressed * 4 < large.plain, JSON.stringify(large));
    const random = await cost(documents()[5]);
    assert.ok(random.compressed <= random.plain, JSON.stringify(random));
  });

  test("does not let a small message become a large one", async (context) => {
    const clients = Clients.of(shared.broker, context);
    const raw = await clients.raw({ perMessageDeflate: { threshold: 0 } });
    raw.send({ id: 1, connect: {} });
    await raw.reply(1);
    raw.send({ id: 2, publish: { channel: "kept:bomb", data: "a".repeat(20 * 1024 * 1024) } });
    assert.equal((await raw.end()).code, 1009);
    const info = async () => (await result(shared.broker, "info")).nodes[0].num_clients ?? 0;
    await eventually(info, (left) => left === 0, "it is gone");
  });
});
