// Connection tokens: who gets in, as whom, and for how long.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { Broker, configWith, KEPT_TOPICS, OPEN_TOPICS, sharedBroker } from "../support/broker.mjs";
import { Clients, result, subscribe, subscribing } from "../support/clients.mjs";
import { FORMS } from "../support/encodings.mjs";
import { Proxy } from "../support/proxy.mjs";
import { storm } from "../support/storm.mjs";
import { connectionToken, jwt, OTHER_SECRET, SECRET, unixTime } from "../support/tokens.mjs";
import { Inbox } from "../support/wait.mjs";

const config = configWith({
  client: { anonymous: false, expired_close_delay: "2s" },
  namespaces: {
    open: OPEN_TOPICS,
    kept: KEPT_TOPICS,
    seen: { ...OPEN_TOPICS, presence: true },
    closed: { presence: true },
  },
  "client.token": { hmac_secret_key: SECRET, hmac_previous_secret_key: OTHER_SECRET },
});

for (const form of FORMS) {
  describe(`a connection token, ${form.name}`, { concurrency: true }, () => {
    const shared = sharedBroker({ before, after }, () => Broker.serve({ config }));
    let clients;
    before(() => (clients = new Clients(shared.broker)));
    after(() => clients.close());
    const sdk = (token, options = {}) => clients.sdk({ form, token, ...options });
    const idle = (token, options = {}) => {
      const client = clients.sdkIdle({ form, token, ...options });
      client.connect();
      return client;
    };

    test("says who the client is", async () => {
      const alice = await sdk(connectionToken("alice", { info: { name: "Älice" } }));
      const bob = await sdk(connectionToken("bob"));
      const atBob = await subscribe(bob, "open:who");
      await alice.publish("open:who", form.encode(1));
      const [{ info }] = await atBob.heard.count(1);
      assert.deepEqual([info.user, info.client], ["alice", alice.context.client]);
      assert.deepEqual(form.decode(info.connInfo), { name: "Älice" });
      assert.ok(!info.chanInfo?.length);
    });

    test("of every algorithm with a secret is good, and of both live secrets", async () => {
      for (const key of [SECRET, OTHER_SECRET]) {
        for (const alg of ["HS256", "HS384", "HS512"]) {
          const client = await sdk(connectionToken("u", {}, { alg, key }));
          assert.equal(client.state, "connected");
        }
      }
    });

    test("that is not what it must be closes the connection for good with 3500", async () => {
      const good = connectionToken("u");
      const [header, , signature] = good.split(".");
      const claims = (said) => Buffer.from(JSON.stringify(said)).toString("base64url");
      const root = { sub: "root", exp: unixTime(3600) };
      const tokens = {
        garbage: "garbage",
        "empty parts": "..",
        "a cut signature": good.slice(0, -1),
        "other claims than signed": [header, claims(root), signature].join("."),
        "a third secret": connectionToken("u", {}, { key: `${SECRET}!` }),
        "no algorithm": connectionToken("u", {}, { alg: "none" }),
        "an unknown algorithm": connectionToken("u", {}, { alg: "PS256" }),
        "a number for a user": connectionToken(42),
        "a subscription token": connectionToken("u", { channel: "open:x" }),
        "no expiry": jwt({ sub: "u" }),
        "a text for an expiry": connectionToken("u", { exp: String(unixTime(60)) }),
        "not valid yet": connectionToken("u", { nbf: unixTime(600) }),
      };
      for (const [what, token] of Object.entries(tokens)) {
        const { code } = await idle(token).diary.entry("disconnected");
        assert.equal(code, 3500, what);
      }
    });

    test("that is missing closes the connection for good with 3501", async () => {
      assert.equal((await idle("").diary.entry("disconnected")).code, 3501);
    });

    test("that has expired is replaced, and the client gets in", async () => {
      let asked = 0;
      const getToken = async () => {
        asked += 1;
        return connectionToken("late");
      };
      const client = idle(connectionToken("late", { exp: unixTime(-5) }), { getToken });
      await client.diary.entry("connected");
      assert.equal(asked, 1);
      const [{ error }] = client.diary.all("error");
      assert.equal(error.code, 109);
    });

    test("is renewed again and again while the client stays connected", async () => {
      const asked = new Inbox();
      const short = () => connectionToken("renewed", { exp: unixTime(2) });
      const getToken = async () => {
        asked.push(1);
        return short();
      };
      const client = await sdk(short(), { getToken });
      // By the third one the first would have ended the connection.
      await asked.count(3);
      assert.equal(client.state, "connected");
      assert.equal(client.diary.all("connecting").length, 1);
    });

    test("that is not renewed ends the connection with 3005, and a new one begins it", async () => {
      let tokens = 0;
      const getToken = () => {
        tokens += 1;
        // The first renewal never comes.
        return tokens === 1 ? new Promise(() => {}) : Promise.resolve(connectionToken("slow"));
      };
      const client = await sdk(connectionToken("slow", { exp: unixTime(2) }), { getToken });
      assert.equal((await client.diary.entry("connecting", 1)).code, 3005);
      await client.diary.entry("connected", 1);
    });

    test("of another user cannot renew a connection", async () => {
      const raw = await clients.raw();
      await raw.ask(1, { connect: { token: connectionToken("me") } });
      raw.send({ id: 2, refresh: { token: connectionToken("you") } });
      assert.equal((await raw.end()).code, 3500);
    });

    test("that is renewed changes what others see of the client", async () => {
      const raw = await clients.raw();
      const first = await raw.ask(1, {
        connect: { token: connectionToken("me", { info: { v: 1 } }) },
      });
      assert.equal(first.connect.expires, true);
      assert.ok(first.connect.ttl > 3500 && first.connect.ttl <= 3600);
      const token = connectionToken("me", { info: { v: 2 }, exp: unixTime(1000) });
      const { refresh } = await raw.ask(2, { refresh: { token } });
      assert.equal(refresh.expires, true);
      assert.ok(refresh.ttl > 900 && refresh.ttl <= 1000);
      const listener = await subscribe(await sdk(connectionToken("other")), "open:renewed");
      raw.send({ id: 3, publish: { channel: "open:renewed", data: 1 } });
      const [{ info }] = await listener.heard.count(1);
      assert.deepEqual(form.decode(info.connInfo), { v: 2 });
    });

    test("brings subscriptions of the server's choice", async () => {
      const token = connectionToken("fan", { channels: ["open:chosen", "closed:chosen"] });
      const client = await sdk(token);
      const chosen = client.diary.all("subscribed").map(({ channel }) => channel);
      assert.deepEqual(chosen.toSorted(), ["closed:chosen", "open:chosen"]);
      for (const channel of chosen) await result(shared.broker, "publish", { channel, data: 7 });
      await client.diary.entry("publication", 1);
      const heard = client.diary
        .all("publication")
        .map((pub) => [pub.channel, form.decode(pub.data)]);
      assert.deepEqual(
        heard,
        chosen.map((channel) => [channel, 7]),
      );
      const twice = subscribing(client, "open:chosen");
      assert.equal((await twice.diary.entry("unsubscribed")).code, 105);
    });

    test("gives these subscriptions what belongs to them, and the backend ends them", async () => {
      const subs = { "seen:mine": { info: { role: "host" }, data: { hello: 1 } } };
      const host = await sdk(connectionToken("host", { subs, info: { n: 1 } }));
      const subscribed = await host.diary.entry("subscribed");
      assert.deepEqual(form.decode(subscribed.data), { hello: 1 });
      const { presence } = await result(shared.broker, "presence", { channel: "seen:mine" });
      const { client } = host.context;
      const info = { user: "host", client, conn_info: { n: 1 }, chan_info: { role: "host" } };
      assert.deepEqual(presence, { [client]: info });
      await result(shared.broker, "unsubscribe", { user: "host", channel: "seen:mine" });
      assert.equal((await host.diary.entry("unsubscribed")).channel, "seen:mine");
    });

    test("that names a topic of no namespace is refused with 102", async () => {
      const client = idle(connectionToken("u", { channels: ["nosuch:x"] }));
      assert.equal((await client.diary.entry("disconnected")).code, 102);
    });
  });

  describe(`subscriptions of the server's choice, ${form.name}`, () => {
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

    test("recover what was published while the connection was cut", async () => {
      const channel = "kept:server-side";
      const token = connectionToken("away", { channels: [channel] });
      const client = await clients.sdk({ form, token, through: proxy });
      const publish = (data) => result(shared.broker, "publish", { channel, data });
      await publish(0);
      await client.diary.entry("publication");
      proxy.close();
      await client.diary.entry("connecting", 1);
      for (let number = 1; number < 30; number += 1) await publish(number);
      proxy.open();
      assert.equal((await client.diary.entry("subscribed", 1)).recovered, true);
      await publish(30);
      await client.diary.entry("publication", 30);
      const heard = client.diary.all("publication").map(({ data }) => form.decode(data));
      assert.deepEqual(
        heard,
        Array.from({ length: 31 }, (_, number) => number),
      );
    });

    test("recover through many cuts while publications go on", async () => {
      const topics = ["kept:storm1", "kept:storm2"];
      const token = connectionToken("stormy", { channels: topics });
      const client = await clients.sdk({ form, token, through: proxy });
      const inboxes = topics.map(() => new Inbox());
      client.on("publication", ({ channel, data }) => {
        inboxes[topics.indexOf(channel)].push(form.decode(data));
      });
      const speaker = await clients.sdk({ form, token: connectionToken("speaker") });
      const total = 600;
      await storm({
        total,
        publish: (number) =>
          Promise.all(topics.map((topic) => speaker.publish(topic, form.encode(number)))),
        inboxes,
        cut: () => proxy.cut(),
      });
      const expected = Array.from({ length: total }, (_, number) => number);
      for (const inbox of inboxes) assert.deepEqual(await inbox.count(total), expected);
    });

    test("begin and end while the client is connected, as the backend says", async () => {
      const client = await clients.sdk({ form, token: connectionToken("pushed") });
      const data = { welcome: "ü" };
      const channel = "closed:pushed";
      const who = { user: "pushed", client: client.context.client };
      await result(shared.broker, "subscribe", { ...who, channel, data, info: { c: 2 } });
      const subscribed = await client.diary.entry("subscribed");
      assert.equal(subscribed.channel, channel);
      assert.deepEqual(form.decode(subscribed.data), data);
      const { presence } = await result(shared.broker, "presence", { channel });
      assert.deepEqual(presence[who.client].chan_info, { c: 2 });
      await result(shared.broker, "publish", { channel, data: 1 });
      const publication = await client.diary.entry("publication");
      assert.deepEqual(form.decode(publication.data), 1);
      await result(shared.broker, "unsubscribe", { user: "pushed", channel });
      await client.diary.entry("unsubscribed");
    });

    test("may take up a position that the backend knows", async () => {
      const client = await clients.sdk({ form, token: connectionToken("since") });
      const channel = "kept:since";
      for (const data of [1, 2, 3]) await result(shared.broker, "publish", { channel, data });
      const { epoch } = await result(shared.broker, "history", { channel });
      const recover_since = { offset: 1, epoch };
      await result(shared.broker, "subscribe", { user: "since", channel, recover_since });
      await client.diary.entry("subscribed");
      await result(shared.broker, "publish", { channel, data: 4 });
      await client.diary.entry("publication", 2);
      const heard = client.diary.all("publication").map(({ data }) => form.decode(data));
      assert.deepEqual(heard, [2, 3, 4]);
    });

    test("end with the connection where the backend says that it expired", async () => {
      const client = await clients.sdk({ form, token: connectionToken("gone") });
      await result(shared.broker, "refresh", { user: "gone", expired: true });
      assert.equal((await client.diary.entry("connecting", 1)).code, 3005);
      await client.diary.entry("connected", 1);
    });
  });
}

describe("a broker that is particular about tokens", () => {
  const particular = configWith({
    client: { anonymous: false, disallow_anonymous_connection_tokens: true },
    "client.token": {
      hmac_secret_key: SECRET,
      audience: "us",
      issuer_regex: "https://[a-z]+\\.example\\.com",
      user_id_claim: "uid",
      allow_without_exp: true,
    },
  });
  const shared = sharedBroker({ before, after }, () => Broker.serve({ config: particular }));

  test("lets in who is meant, as the one that is named", async (context) => {
    const clients = Clients.of(shared.broker, context);
    const good = { uid: "u", aud: ["them", "us"], iss: "https://id.example.com" };
    // The name of the event, and its code.
    const attempt = async (claims) => {
      const client = clients.sdkIdle({ token: jwt({ ...good, ...claims }) });
      client.connect();
      const decided = ({ name }) => name === "connected" || name === "disconnected";
      const told = await client.diary.until((items) => items.some(decided), "an answer");
      const { name, code } = told.find(decided);
      return code ?? name;
    };
    assert.equal(await attempt({}), "connected");
    assert.equal(await attempt({ aud: "us" }), "connected");
    assert.equal(await attempt({ aud: "them" }), 3500);
    assert.equal(await attempt({ aud: undefined }), 3500);
    assert.equal(await attempt({ iss: "https://id.example.com.evil" }), 3500);
    assert.equal(await attempt({ iss: undefined }), 3500);
    assert.equal(await attempt({ uid: "" }), 3507);
    assert.equal(await attempt({ uid: undefined, sub: "u" }), 3507);
  });
});
