// Deltas: what arrives is what was published, and less travels for it.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { Broker, configWith, KEPT_TOPICS, OPEN_TOPICS, sharedBroker } from "../support/broker.mjs";
import { Clients, result, subscribe } from "../support/clients.mjs";
import { FORMS } from "../support/encodings.mjs";
import { Proxy } from "../support/proxy.mjs";
import { storm } from "../support/storm.mjs";

const DELTA = { allowed_delta_types: ["fossil"], delta_publish: true };
const config = configWith({
  client: { recovery_publications_max: 10_000 },
  namespaces: {
    delta: { ...KEPT_TOPICS, ...DELTA },
    chosen: { ...KEPT_TOPICS, ...DELTA, delta_publish: false },
    light: { ...OPEN_TOPICS, ...DELTA },
    plain: KEPT_TOPICS,
  },
});

// Neighbouring characters share leading bytes, so a change can fall inside of one.
const LETTERS = [..."äöüßéÿ漢字漣溪😀😁😂🙈aZ09", '"', "\\", "\n", "\u0000"];

/** A long document of which each version changes a little, from a seed that a failure repeats. */
function* versions(seed) {
  let state = seed;
  const random = (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * below);
  };
  const text = () => Array.from({ length: 30 }, () => LETTERS[random(LETTERS.length)]).join("");
  const lines = Array.from({ length: 40 }, text);
  for (let version = 0; ; version += 1) {
    yield { version, title: "Ü 😀 漢", lines: [...lines] };
    for (let change = random(4); change >= 0; change -= 1) {
      const at = random(lines.length);
      const letters = [...lines[at]];
      letters[random(letters.length)] = LETTERS[random(LETTERS.length)];
      lines[at] = letters.join("");
    }
    if (random(10) === 0) lines.splice(random(lines.length), 1, text());
  }
}

function take(count, seed) {
  const each = versions(seed);
  return Array.from({ length: count }, () => each.next().value);
}

for (const form of FORMS) {
  describe(`deltas, ${form.name}`, () => {
    const shared = sharedBroker({ before, after }, () => Broker.serve({ config }));
    let clients;
    let proxy;
    beforeEach(async () => {
      clients = new Clients(shared.broker);
      proxy = await Proxy.start(shared.broker.port);
    });
    afterEach(async () => {
      clients.close();
      await proxy.stop();
    });
    const publish = (channel, data, more = {}) =>
      result(shared.broker, "publish", { channel, data, ...more });
    const listen = async (topic, options = { delta: "fossil" }) =>
      subscribe(await clients.sdk({ form, through: proxy }), topic, options);
    const away = async (listener, meanwhile) => {
      const times = listener.diary.all("subscribed").length;
      const lost = listener.diary.all("subscribing").length;
      proxy.close();
      await listener.diary.entry("subscribing", lost);
      await meanwhile();
      proxy.open();
      return listener.diary.entry("subscribed", times);
    };

    test("of long texts are small, and give the texts again", async () => {
      for (const topic of ["delta:text", "light:text"]) {
        const listener = await listen(topic);
        const others = await listen(topic, {});
        const documents = take(60, 7);
        for (const document of documents) await publish(topic, document);
        assert.deepEqual(await listener.inbox.count(60), documents);
        assert.deepEqual(await others.inbox.count(60), documents);
        const stats = listener.deltaStats();
        assert.equal(stats.numPublications, 60);
        assert.ok(stats.numDeltaPayloads >= 55, JSON.stringify(stats));
        assert.ok(stats.compressionRatio > 0.8, JSON.stringify(stats));
        assert.equal(others.deltaStats().numDeltaPayloads, 0);
      }
    });

    test("of clients' publications give these again", async () => {
      const speaker = await clients.sdk({ form });
      const listener = await listen("delta:clients");
      const documents = take(30, 11);
      await Promise.all(
        documents.map((each) => speaker.publish("delta:clients", form.encode(each))),
      );
      assert.deepEqual(await listener.inbox.count(30), documents);
      assert.ok(listener.deltaStats().numDeltaPayloads >= 25);
    });

    test("go on after a recovery", async () => {
      const listener = await listen("delta:recovery");
      // Stays, so that the broker's own base goes on meanwhile.
      const other = await subscribe(await clients.sdk({ form }), "delta:recovery", {
        delta: "fossil",
      });
      const documents = take(50, 13);
      const next = async (count) => {
        for (const each of documents.slice(told, told + count))
          await publish("delta:recovery", each);
        told += count;
      };
      let told = 0;
      await next(5);
      await listener.inbox.count(5);
      for (const missed of [0, 1, 7]) {
        assert.equal((await away(listener, () => next(missed))).recovered, true);
        await next(5);
      }
      await next(50 - told);
      assert.deepEqual(await listener.inbox.count(50), documents);
      assert.deepEqual(await other.inbox.count(50), documents);
      assert.ok(listener.deltaStats().numDeltaPayloads >= 35);
    });

    test("are right through many cuts while publications go on", async () => {
      const documents = take(800, 37);
      const speaker = await clients.sdk({ form });
      const listeners = [];
      for (const options of [{ delta: "fossil" }, { delta: "fossil" }, {}]) {
        listeners.push(await listen("delta:storm", options));
      }
      await storm({
        total: documents.length,
        publish: (index) => speaker.publish("delta:storm", form.encode(documents[index])),
        inboxes: listeners.map(({ inbox }) => inbox),
        cut: () => proxy.cut(),
        ahead: 60,
      });
      for (const { inbox } of listeners) assert.deepEqual(await inbox.count(800), documents);
      assert.ok(listeners[0].deltaStats().numDeltaPayloads > 600);
    });

    test("begin anew where nothing could be recovered", async () => {
      const listener = await listen("delta:anew");
      const documents = take(30, 17);
      for (const each of documents.slice(0, 5)) await publish("delta:anew", each);
      await listener.inbox.count(5);
      const back = await away(listener, async () => {
        for (const each of documents.slice(5, 10)) await publish("delta:anew", each);
        await result(shared.broker, "history_remove", { channel: "delta:anew" });
      });
      assert.equal(back.recovered, false);
      for (const each of documents.slice(10)) await publish("delta:anew", each);
      const expected = [...documents.slice(0, 5), ...documents.slice(10)];
      assert.deepEqual(await listener.inbox.count(25), expected);
    });

    test("are right beside publications that are kept nowhere", async () => {
      const other = await subscribe(await clients.sdk({ form }), "delta:skip", { delta: "fossil" });
      const documents = take(24, 19);
      const skip = (index) => index % 3 === 2;
      const tell = async (from, to) => {
        for (let index = from; index < to; index += 1) {
          await publish("delta:skip", documents[index], { skip_history: skip(index) });
        }
      };
      const listener = await listen("delta:skip");
      await tell(0, 9);
      await listener.inbox.count(9);
      await away(listener, () => tell(9, 15));
      await tell(15, 24);
      const expected = documents.filter((_, index) => index < 9 || index >= 15 || !skip(index));
      assert.deepEqual(await listener.inbox.count(expected.length), expected);
      assert.deepEqual(await other.inbox.count(24), documents);
    });

    test("are made where the publisher asks for them, and nowhere else", async () => {
      const listener = await listen("chosen:some");
      const documents = take(10, 23);
      for (const [index, each] of documents.entries()) {
        await publish("chosen:some", each, { delta: index >= 5 });
      }
      assert.deepEqual(await listener.inbox.count(10), documents);
      assert.equal(listener.deltaStats().numFullPayloads, 5);
      const plain = await listen("plain:some");
      for (const each of documents) await publish("plain:some", each, { delta: true });
      assert.deepEqual(await plain.inbox.count(10), documents);
      assert.equal(plain.deltaStats().numDeltaPayloads, 0);
    });

    test("of small and of unlike publications are these themselves", async () => {
      const listener = await listen("delta:small");
      const values = [1, "ü", null, { a: 1 }, [], "x".repeat(500), take(1, 29)[0], 2];
      for (const value of values) await publish("delta:small", value);
      assert.deepEqual(await listener.inbox.count(values.length), values);
    });
  });
}

describe("deltas by hand", () => {
  const shared = sharedBroker({ before, after }, () => Broker.serve({ config }));

  test("are texts in JSON, marked as deltas, and much smaller", async (context) => {
    const clients = Clients.of(shared.broker, context);
    const raw = await clients.raw();
    raw.send({ id: 1, connect: {} });
    raw.send({ id: 2, subscribe: { channel: "delta:raw", delta: "fossil" } });
    assert.equal((await raw.reply(2)).subscribe.delta, true);
    raw.send({ id: 3, subscribe: { channel: "plain:raw", delta: "fossil" } });
    assert.equal((await raw.reply(3)).subscribe.delta, undefined);
    const [first, second] = take(2, 31);
    for (const data of [first, second]) {
      await result(shared.broker, "publish", { channel: "delta:raw", data });
    }
    const [full, patch] = await raw.publications("delta:raw", 2);
    assert.equal(full.delta, undefined);
    assert.deepEqual(JSON.parse(full.data), first);
    assert.equal(patch.delta, true);
    assert.ok(patch.data.length * 5 < full.data.length);
    // What history tells is not one after the other.
    const history = await raw.ask(4, { history: { channel: "delta:raw", limit: -1 } });
    assert.deepEqual(
      history.history.publications.map(({ data }) => data),
      [first, second],
    );
  });
});
