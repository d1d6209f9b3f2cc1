// History as the npm SDK reads it, and what belongs to a publication beside its payload.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { Broker, configWith, KEPT_TOPICS, OPEN_TOPICS, sharedBroker } from "../support/broker.mjs";
import { callApi, Clients, result, subscribe } from "../support/clients.mjs";
import { FORMS } from "../support/encodings.mjs";
import { connectionToken, SECRET } from "../support/tokens.mjs";

const config = configWith({
  client: { history_publications_max: 40 },
  namespaces: {
    kept: KEPT_TOPICS,
    short: { ...KEPT_TOPICS, history_size: 10 },
    secret: { ...KEPT_TOPICS, allow_history_for_client: false },
    plain: OPEN_TOPICS,
  },
  "client.token": { hmac_secret_key: SECRET },
});

const numbers = (from, to) => Array.from({ length: to - from }, (_, index) => from + index);

for (const form of FORMS) {
  describe(`history, ${form.name}`, () => {
    const shared = sharedBroker({ before, after }, () => Broker.serve({ config }));
    let clients;
    beforeEach(() => (clients = new Clients(shared.broker)));
    afterEach(() => clients.close());
    const publish = async (channel, data, more = {}) => {
      for (const number of data) {
        await result(shared.broker, "publish", { channel, data: number, ...more });
      }
    };
    const data = ({ publications }) => publications.map((each) => form.decode(each.data));
    const offsets = ({ publications }) => publications.map(({ offset }) => Number(offset));

    test("is read in pages, from the oldest on", async () => {
      const client = await clients.sdk({ form });
      await publish("kept:pages", numbers(1, 26));
      const { offset, epoch, ...nothing } = await client.history("kept:pages", { limit: 0 });
      assert.deepEqual([Number(offset), nothing.publications], [25, []]);
      assert.match(epoch, /^\S+$/);
      const all = [];
      for (let since = { offset: 0, epoch }; ;) {
        const page = await client.history("kept:pages", { limit: 10, since });
        if (page.publications.length === 0) break;
        assert.equal(page.epoch, epoch);
        assert.equal(Number(page.offset), 25);
        assert.deepEqual(offsets(page), data(page));
        all.push(data(page));
        since = { offset: Number(page.publications.at(-1).offset), epoch };
      }
      assert.deepEqual(all, [numbers(1, 11), numbers(11, 21), numbers(21, 26)]);
    });

    test("is read in pages, from the newest on", async () => {
      const client = await clients.sdk({ form });
      await publish("kept:reverse", numbers(1, 13));
      const newest = await client.history("kept:reverse", { limit: 5, reverse: true });
      assert.deepEqual(data(newest), [12, 11, 10, 9, 8]);
      const since = { offset: 8, epoch: newest.epoch };
      const older = await client.history("kept:reverse", { limit: 5, reverse: true, since });
      assert.deepEqual(data(older), [7, 6, 5, 4, 3]);
      const rest = await client.history("kept:reverse", {
        limit: -1,
        reverse: true,
        since: { offset: 3, epoch: newest.epoch },
      });
      assert.deepEqual(data(rest), [2, 1]);
    });

    test("gives no more than is kept and than one answer may hold", async () => {
      const client = await clients.sdk({ form });
      await publish("short:kept", numbers(1, 26));
      const kept = await client.history("short:kept", { limit: -1 });
      assert.deepEqual(data(kept), numbers(16, 26));
      const since = { offset: 3, epoch: kept.epoch };
      assert.deepEqual(data(await client.history("short:kept", { limit: 2, since })), [16, 17]);
      await publish("kept:long", numbers(1, 61));
      assert.deepEqual(data(await client.history("kept:long", { limit: -1 })), numbers(1, 41));
      const { publications } = await result(shared.broker, "history", {
        channel: "kept:long",
        limit: -1,
      });
      assert.deepEqual(
        publications.map((each) => each.data),
        numbers(1, 61),
      );
    });

    test("of another epoch is refused with 112", async () => {
      const client = await clients.sdk({ form });
      await publish("kept:epoch", [1]);
      const since = { offset: 0, epoch: "another" };
      await assert.rejects(client.history("kept:epoch", { limit: 1, since }), { code: 112 });
    });

    test("is for those who may read it", async () => {
      const client = await clients.sdk({ form });
      await assert.rejects(client.history("secret:x", { limit: 1 }), { code: 103 });
      await assert.rejects(client.history("plain:x", { limit: 1 }), { code: 108 });
      await assert.rejects(client.history("nosuch:x", { limit: 1 }), { code: 102 });
    });

    test("keeps payload, tags, offset and publisher, as subscribers get them", async () => {
      const token = connectionToken("author", { info: { pen: "ü" } });
      const author = await clients.sdk({ form, token });
      const listener = await subscribe(await clients.sdk({ form }), "kept:all");
      const payload = { text: "ü\n😀", list: [1, null, { a: "\u0000" }] };
      await author.publish("kept:all", form.encode(payload));
      await publish("kept:all", [payload], { tags: { kind: "tägged", b: "2" } });
      await publish("kept:all", ["unkept"], { skip_history: true });
      const [first, second, third] = await listener.heard.count(3);
      const read = await author.history("kept:all", { limit: -1 });
      assert.deepEqual(data(read), [payload, payload]);
      assert.deepEqual(offsets(read), [1, 2]);
      for (const one of [first, read.publications[0]]) {
        assert.equal(Number(one.offset), 1);
        assert.equal(one.info.user, "author");
        assert.equal(one.info.client, author.context.client);
        assert.deepEqual(form.decode(one.info.connInfo), { pen: "ü" });
      }
      for (const one of [second, read.publications[1]]) {
        assert.deepEqual({ ...one.tags }, { kind: "tägged", b: "2" });
        assert.equal(one.info ?? undefined, undefined);
      }
      assert.equal(third.data, "unkept");
      assert.equal(Number(third.offset ?? 0), 0);
    });

    test("is gone when the backend removes it, and its numbers go on", async () => {
      const client = await clients.sdk({ form });
      await publish("kept:gone", numbers(1, 4));
      const before = await client.history("kept:gone", { limit: -1 });
      await result(shared.broker, "history_remove", { channel: "kept:gone" });
      const removed = await client.history("kept:gone", { limit: -1 });
      assert.deepEqual([data(removed), Number(removed.offset)], [[], 3]);
      assert.equal(removed.epoch, before.epoch);
      await publish("kept:gone", [4]);
      assert.deepEqual(offsets(await client.history("kept:gone", { limit: -1 })), [4]);
      const { error } = await callApi(shared.broker, "history_remove", { channel: "plain:x" });
      assert.equal(error.code, 108);
    });
  });
}
