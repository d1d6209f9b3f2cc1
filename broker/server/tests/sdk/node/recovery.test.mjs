// What a client of the npm SDK misses while it is away, it gets when it is back, or it is told.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { Broker, configWith, KEPT_TOPICS, sharedBroker } from "../support/broker.mjs";
import { callApi, Clients, result, subscribe } from "../support/clients.mjs";
import { FORMS } from "../support/encodings.mjs";
import { Proxy } from "../support/proxy.mjs";
import { storm } from "../support/storm.mjs";

const config = configWith({
  client: { recovery_publications_max: 10_000 },
  namespaces: {
    kept: KEPT_TOPICS,
    short: { ...KEPT_TOPICS, history_size: 5 },
    newest: { ...KEPT_TOPICS, force_recovery_mode: "cache" },
    state: { ...KEPT_TOPICS, force_recovery_mode: "cache", auto_cache_recover: true },
    asked: { ...KEPT_TOPICS, force_recovery: false, allow_recovery: true },
  },
});

const numbers = (from, to) => Array.from({ length: to - from }, (_, index) => from + index);

for (const form of FORMS) {
  describe(`recovery, ${form.name}`, () => {
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

    // Publishes these numbers, one after the other.
    const publish = async (channel, data) => {
      for (const number of data) await result(shared.broker, "publish", { channel, data: number });
    };
    const listen = async (topic, options) =>
      subscribe(await clients.sdk({ form, through: proxy }), topic, options);
    // Cuts the listener off, lets `meanwhile` happen, and waits until it is subscribed again.
    const away = async (listener, meanwhile) => {
      const times = listener.diary.all("subscribed").length;
      const lost = listener.diary.all("subscribing").length;
      proxy.close();
      await listener.diary.entry("subscribing", lost);
      await meanwhile();
      proxy.open();
      return listener.diary.entry("subscribed", times);
    };

    test("brings what was published while the connection was cut", async () => {
      const listener = await listen("kept:cut");
      assert.equal(listener.context.recoverable, true);
      assert.equal(listener.context.positioned, true);
      assert.equal(listener.context.wasRecovering, false);
      await publish("kept:cut", numbers(0, 3));
      await listener.inbox.count(3);
      const back = await away(listener, () => publish("kept:cut", numbers(3, 53)));
      assert.equal(back.wasRecovering, true);
      assert.equal(back.recovered, true);
      assert.equal(back.hasRecoveredPublications, true);
      assert.equal(back.streamPosition.epoch, listener.context.streamPosition.epoch);
      await publish("kept:cut", [53]);
      assert.deepEqual(await listener.inbox.count(54), numbers(0, 54));
      const offsets = listener.heard.items.map(({ offset }) => Number(offset));
      assert.deepEqual(offsets, numbers(1, 55));
    });

    test("brings nothing where nothing was missed", async () => {
      const listener = await listen("kept:calm");
      await publish("kept:calm", [1]);
      await listener.inbox.count(1);
      const back = await away(listener, async () => {});
      assert.equal(back.recovered, true);
      assert.equal(back.hasRecoveredPublications, false);
      await publish("kept:calm", [2]);
      assert.deepEqual(await listener.inbox.count(2), [1, 2]);
    });

    test("works after a disconnect by the backend", async () => {
      const client = await clients.sdk({ form });
      const listener = await subscribe(client, "kept:moved");
      const disconnect = { code: 4001, reason: "move" };
      for (let time = 1; time <= 5; time += 1) {
        const who = client.diary.all("connected").at(-1).client;
        await result(shared.broker, "disconnect", { user: "", client: who, disconnect });
        await publish("kept:moved", [time]);
        const back = await listener.diary.entry("subscribed", time);
        assert.equal(back.recovered, true);
        assert.equal(client.diary.all("connecting").at(-1).code, 4001);
      }
      assert.deepEqual(await listener.inbox.count(5), numbers(1, 6));
    });

    test("loses and repeats nothing in many cuts while publications go on", async () => {
      const total = 3000;
      const speaker = await clients.sdk({ form });
      const listeners = [await listen("kept:storm"), await listen("kept:storm")];
      await storm({
        total,
        publish: (number) => speaker.publish("kept:storm", form.encode(number)),
        inboxes: listeners.map(({ inbox }) => inbox),
        cut: () => proxy.cut(),
      });
      for (const listener of listeners) {
        assert.deepEqual(await listener.inbox.count(total), numbers(0, total));
        const [, ...returns] = listener.diary.all("subscribed");
        assert.ok(returns.length >= 10, `only ${returns.length} returns`);
        assert.ok(returns.every(({ recovered }) => recovered));
      }
    });

    test("of a hundred topics of one connection brings each what it missed", async () => {
      const client = await clients.sdk({ form, through: proxy });
      const topics = numbers(0, 100).map((number) => `kept:many${number}`);
      const listeners = await Promise.all(topics.map((topic) => subscribe(client, topic)));
      const commands = topics.map((channel) => ({ publish: { channel, data: channel } }));
      proxy.close();
      await client.diary.entry("connecting", 1);
      await result(shared.broker, "broadcast", { channels: topics, data: "missed" });
      proxy.open();
      const { replies } = await callApi(shared.broker, "batch", { commands });
      assert.equal(replies.length, 100);
      for (const [index, listener] of listeners.entries()) {
        assert.deepEqual(await listener.inbox.count(2), ["missed", topics[index]]);
        assert.equal((await listener.diary.entry("subscribed", 1)).recovered, true);
      }
    });

    test("is refused, and told, where the history does not reach back", async () => {
      const listener = await listen("short:trimmed");
      await publish("short:trimmed", [0]);
      await listener.inbox.count(1);
      const back = await away(listener, () => publish("short:trimmed", numbers(1, 7)));
      assert.equal(back.wasRecovering, true);
      assert.equal(back.recovered, false);
      await publish("short:trimmed", [7]);
      assert.deepEqual(await listener.inbox.count(2), [0, 7]);
      // From here on it can recover again: as many as are kept.
      const again = await away(listener, () => publish("short:trimmed", numbers(8, 13)));
      assert.equal(again.recovered, true);
      assert.deepEqual(await listener.inbox.count(7), [0, ...numbers(7, 13)]);
    });

    test("is refused, and told, after the history was removed", async () => {
      const listener = await listen("kept:removed");
      const back = await away(listener, async () => {
        await publish("kept:removed", [1]);
        await result(shared.broker, "history_remove", { channel: "kept:removed" });
      });
      assert.equal(back.recovered, false);
      await publish("kept:removed", [2]);
      assert.deepEqual(await listener.inbox.count(1), [2]);
    });

    test("brings the newest publication alone in cache mode", async () => {
      const listener = await listen("newest:state");
      await publish("newest:state", [1]);
      await listener.inbox.count(1);
      const back = await away(listener, () => publish("newest:state", numbers(2, 20)));
      assert.equal(back.recovered, true);
      await publish("newest:state", [20]);
      assert.deepEqual(await listener.inbox.count(3), [1, 19, 20]);
    });

    test("brings the newest publication to everybody who comes", async () => {
      assert.equal((await listen("state:empty")).context.recovered, false);
      await publish("state:topic", [1, 2]);
      const listener = await listen("state:topic");
      assert.equal(listener.context.recovered, true);
      await publish("state:topic", [3]);
      assert.deepEqual(await listener.inbox.count(2), [2, 3]);
    });

    test("is for those who ask, where it is allowed", async () => {
      const asking = await listen("asked:topic", { recoverable: true });
      const quiet = await subscribe(await clients.sdk({ form, through: proxy }), "asked:topic");
      assert.deepEqual([asking.context.recoverable, quiet.context.recoverable], [true, false]);
      const lost = quiet.diary.entry("subscribing", 1);
      await away(asking, async () => {
        await lost;
        await publish("asked:topic", [1]);
      });
      await quiet.diary.entry("subscribed", 1);
      await publish("asked:topic", [2]);
      assert.deepEqual(await asking.inbox.count(2), [1, 2]);
      assert.deepEqual(await quiet.inbox.count(1), [2]);
      const watched = await subscribe(await clients.sdk({ form }), "asked:topic", {
        positioned: true,
      });
      const { recoverable, positioned, streamPosition } = watched.context;
      assert.deepEqual([recoverable, positioned, Number(streamPosition.offset)], [false, true, 2]);
    });

    test("begins at a position that the application kept", async () => {
      await publish("kept:since", numbers(1, 6));
      const history = { channel: "kept:since", limit: 0 };
      const { epoch } = await result(shared.broker, "history", history);
      const listener = await listen("kept:since", { since: { offset: 2, epoch } });
      assert.equal(listener.context.recovered, true);
      assert.deepEqual(await listener.inbox.count(3), [3, 4, 5]);
    });

    test("lets the application load its state where it is impossible", async () => {
      const topic = "short:state";
      let loaded = 0;
      const getState = async () => {
        loaded += 1;
        const { offset, epoch } = await result(shared.broker, "history", {
          channel: topic,
          limit: 0,
        });
        return { offset, epoch };
      };
      const listener = await listen(topic, { getState });
      assert.equal(loaded, 1);
      await away(listener, () => publish(topic, numbers(0, 3)));
      assert.deepEqual(await listener.inbox.count(3), [0, 1, 2]);
      assert.equal(loaded, 1, "nothing was lost");
      await away(listener, () => publish(topic, numbers(3, 13)));
      assert.equal(loaded, 2, "the history did not reach back");
      await publish(topic, [13]);
      assert.deepEqual((await listener.inbox.count(4)).slice(3), [13]);
    });

    test("is refused by a broker that knows nothing of the topic's past", async (context) => {
      const first = await Broker.serve({ config });
      context.after(() => first.stop());
      const own = Clients.of(first, context);
      const listener = await subscribe(await own.sdk({ form }), "kept:restart");
      await result(first, "publish", { channel: "kept:restart", data: 1 });
      await listener.inbox.count(1);
      await first.stop();
      const second = await Broker.serve({ config, port: first.port });
      context.after(() => second.stop());
      const back = await listener.diary.entry("subscribed", 1);
      assert.equal(back.wasRecovering, true);
      assert.equal(back.recovered, false);
      assert.notEqual(back.streamPosition.epoch, listener.context.streamPosition.epoch);
      await result(second, "publish", { channel: "kept:restart", data: 2 });
      assert.deepEqual(await listener.inbox.count(2), [1, 2]);
    });
  });
}
