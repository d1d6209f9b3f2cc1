// Subscription tokens: topics that a backend opens to one client.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Broker, configWith, OPEN_TOPICS, sharedBroker } from "../support/broker.mjs";
import { Clients, result, subscribe, subscribing } from "../support/clients.mjs";
import { FORMS } from "../support/encodings.mjs";
import {
  connectionToken,
  OTHER_SECRET,
  SECRET,
  subscriptionToken,
  unixTime,
} from "../support/tokens.mjs";
import { Inbox } from "../support/wait.mjs";

const config = configWith({
  client: { anonymous: false, expired_sub_close_delay: "2s" },
  namespaces: { closed: { presence: true, allow_publish_for_subscriber: true }, open: OPEN_TOPICS },
  "client.token": { hmac_secret_key: SECRET },
});

for (const form of FORMS) {
  describe(`a subscription token, ${form.name}`, { concurrency: true }, () => {
    const shared = sharedBroker({ before, after }, () => Broker.serve({ config }));
    let clients;
    before(() => (clients = new Clients(shared.broker)));
    after(() => clients.close());
    const sdk = (user) => clients.sdk({ form, token: connectionToken(user) });

    test("opens a private topic and one that is closed, and no other does", async () => {
      const client = await sdk("alice");
      for (const topic of ["$closed:one", "closed:one", "$open:one"]) {
        const getToken = async ({ channel }) => subscriptionToken("alice", channel);
        const listener = await subscribe(client, topic, { getToken });
        await result(shared.broker, "publish", { channel: topic, data: topic });
        assert.deepEqual(await listener.inbox.count(1), [topic]);
      }
      for (const topic of ["$closed:two", "closed:two", "$open:two"]) {
        const refused = subscribing(client, topic);
        assert.equal((await refused.diary.entry("unsubscribed")).code, 103, topic);
      }
    });

    test("carries what others see of the subscriber, and what it is told itself", async () => {
      const bob = await sdk("bob");
      const channel = "closed:info";
      const claims = { info: { seat: "Ä1" }, data: { topic: "rules" } };
      const listener = await subscribe(bob, channel, {
        token: subscriptionToken("bob", channel, claims),
      });
      assert.deepEqual(form.decode(listener.context.data), { topic: "rules" });
      const { presence } = await result(shared.broker, "presence", { channel });
      const { client } = bob.context;
      const info = { user: "bob", client, chan_info: { seat: "Ä1" } };
      assert.deepEqual(presence, { [client]: info });
      await listener.publish(form.encode("hello"));
      const [heard] = await listener.heard.count(1);
      assert.deepEqual(form.decode(heard.info.chanInfo), { seat: "Ä1" });
    });

    test("that is not signed as it must be is refused with 103", async () => {
      const client = await sdk("carol");
      const channel = "closed:refused";
      const tokens = {
        garbage: "garbage",
        "another secret": subscriptionToken("carol", channel, {}, { key: OTHER_SECRET }),
        "a connection token": connectionToken("carol"),
      };
      for (const [what, token] of Object.entries(tokens)) {
        const refused = subscribing(client, channel, { token });
        assert.equal((await refused.diary.entry("unsubscribed")).code, 103, what);
        client.removeSubscription(refused);
      }
      assert.equal(client.state, "connected");
    });

    test("of another topic or user closes the connection for good with 3500", async () => {
      for (const [user, channel] of [
        ["dave", "closed:other"],
        ["erin", "closed:mine"],
      ]) {
        const client = await sdk("dave");
        subscribing(client, "closed:mine", { token: subscriptionToken(user, channel) });
        assert.equal((await client.diary.entry("disconnected")).code, 3500);
      }
    });

    test("that has expired is replaced, and the subscription begins", async () => {
      const client = await sdk("frank");
      const asked = [];
      const getToken = async ({ channel }) => {
        asked.push(channel);
        return subscriptionToken("frank", channel);
      };
      const token = subscriptionToken("frank", "closed:late", { exp: unixTime(-5) });
      const listener = await subscribe(client, "closed:late", { token, getToken });
      assert.deepEqual(asked, ["closed:late"]);
      assert.equal(listener.diary.all("error")[0].error.code, 109);
    });

    test("is renewed again and again while the subscription goes on", async () => {
      const client = await sdk("grace");
      const asked = new Inbox();
      const getToken = async ({ channel }) => {
        asked.push(channel);
        return subscriptionToken("grace", channel, { exp: unixTime(2) });
      };
      const listener = await subscribe(client, "closed:renewed", { getToken });
      await asked.count(4);
      assert.equal(listener.state, "subscribed");
      assert.equal(listener.diary.all("subscribing").length, 1);
    });

    test("that is not renewed ends the subscription with 2501, until a new one comes", async () => {
      const client = await sdk("heidi");
      const listener = subscribing(client, "closed:slow", {
        token: subscriptionToken("heidi", "closed:slow", { exp: unixTime(2) }),
        getToken: ({ channel }) =>
          // The renewal never comes; the token for the next beginning does.
          listener.diary.all("subscribing").length === 1
            ? new Promise(() => {})
            : Promise.resolve(subscriptionToken("heidi", channel)),
      });
      assert.equal((await listener.diary.entry("subscribing", 1)).code, 2501);
      await listener.diary.entry("subscribed", 1);
    });
  });
}

describe("subscription tokens with a secret of their own", () => {
  const own = configWith({
    client: { anonymous: false },
    namespaces: { closed: {} },
    "client.token": { hmac_secret_key: SECRET },
    "client.subscription_token": { enabled: true, hmac_secret_key: OTHER_SECRET },
  });
  const shared = sharedBroker({ before, after }, () => Broker.serve({ config: own }));

  test("are good with that one only", async (context) => {
    const clients = Clients.of(shared.broker, context);
    const client = await clients.sdk({ token: connectionToken("ivan") });
    const key = { key: OTHER_SECRET };
    await subscribe(client, "closed:good", {
      token: subscriptionToken("ivan", "closed:good", {}, key),
    });
    const refused = subscribing(client, "closed:bad", {
      token: subscriptionToken("ivan", "closed:bad"),
    });
    assert.equal((await refused.diary.entry("unsubscribed")).code, 103);
    const stranger = clients.sdkIdle({ token: connectionToken("ivan", {}, key) });
    stranger.connect();
    assert.equal((await stranger.diary.entry("disconnected")).code, 3500);
  });
});
