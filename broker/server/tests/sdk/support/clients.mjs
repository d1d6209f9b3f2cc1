// Clients: the stock SDK, a client that speaks the protocol by hand, and a backend.

import WebSocket from "ws";

import { API_KEY } from "./broker.mjs";
import { JSON_FORM } from "./encodings.mjs";
import { Diary, event, Inbox, within } from "./wait.mjs";

const SUBSCRIPTION_EVENTS = ["subscribing", "subscribed", "unsubscribed", "join", "leave", "error"];
const CLIENT_EVENTS = [
  ...["connecting", "connected", "disconnected", "publication", "message"],
  ...SUBSCRIPTION_EVENTS,
];

/** Every client of one test, so that all of them can be closed at its end. */
export class Clients {
  #open = [];

  constructor(broker) {
    this.broker = broker;
  }

  /** The SDK, connected. */
  async sdk(options = {}) {
    const client = this.sdkIdle(options);
    const connected = event(client, "connected");
    client.connect();
    client.context = await connected;
    return client;
  }

  /**
   * The SDK, not connected yet: `form` is its encoding, `through` a proxy. `client.diary` keeps
   * what it tells of itself and of its server-side subscriptions.
   */
  sdkIdle({ form = JSON_FORM, through = this.broker, ...options } = {}) {
    const client = new form.Client(through.websocket, {
      websocket: WebSocket,
      minReconnectDelay: 20,
      maxReconnectDelay: 200,
      ...options,
    });
    client.form = form;
    client.diary = new Diary(client, CLIENT_EVENTS);
    this.#open.push(() => client.disconnect());
    return client;
  }

  /** A client that sends what it is told and keeps what comes. */
  async raw({ query = "", pong = true, protocols = [], ...options } = {}) {
    const client = new RawClient(this.broker.websocket + query, protocols, options, pong);
    this.#open.push(() => client.socket.terminate());
    await within(client.opened, "the WebSocket opens");
    return client;
  }

  /** Clients that are closed when the test `context` is over, however it ends. */
  static of(broker, context) {
    const clients = new Clients(broker);
    context.after(() => clients.close());
    return clients;
  }

  close() {
    for (const close of this.#open) close();
    this.#open = [];
  }
}

/** A subscription of the SDK that is active; with the context of its beginning. */
export async function subscribe(client, topic, options = {}) {
  const subscription = subscribing(client, topic, options);
  subscription.context = await subscription.diary.entry("subscribed");
  return subscription;
}

/**
 * A subscription of the SDK that is asked for. Its `inbox` has payloads, its `heard` publications
 * with all that belongs to them, its `diary` what else it tells.
 */
export function subscribing(client, topic, options = {}) {
  const subscription = client.newSubscription(topic, {
    minResubscribeDelay: 20,
    maxResubscribeDelay: 200,
    ...options,
  });
  subscription.inbox = new Inbox();
  subscription.heard = new Inbox();
  subscription.diary = new Diary(subscription, SUBSCRIPTION_EVENTS);
  subscription.on("publication", ({ channel, data, ...context }) => {
    const decoded = client.form.decode(data);
    subscription.heard.push({ data: decoded, ...context });
    subscription.inbox.push(decoded);
  });
  subscription.subscribe();
  return subscription;
}

class RawClient {
  constructor(url, protocols, options, pong) {
    this.inbox = new Inbox();
    this.pings = new Inbox();
    this.socket = new WebSocket(url, protocols, { perMessageDeflate: false, ...options });
    this.opened = new Promise((resolve, reject) => {
      this.socket.once("open", resolve);
      this.socket.once("error", reject);
    });
    this.closed = new Promise((resolve) => {
      this.socket.once("close", (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    this.socket.on("message", (data) => {
      for (const line of data.toString().split("\n")) this.#message(line, pong);
    });
  }

  #message(line, pong) {
    if (line !== "{}") return this.inbox.push(JSON.parse(line));
    if (pong) this.socket.send("{}");
    return this.pings.push(line);
  }

  /** All commands in one frame. */
  send(...commands) {
    this.socket.send(commands.map((command) => JSON.stringify(command)).join("\n"));
  }

  /** The reply to the command with this id. */
  async reply(id) {
    const isReply = (message) => message.id === id;
    const items = await this.inbox.until((all) => all.some(isReply), `reply ${id}`);
    return items.find(isReply);
  }

  /** The reply to one command. */
  async ask(id, command) {
    this.send({ id, ...command });
    return this.reply(id);
  }

  /** The publications of a topic as soon as there are `count` of them. */
  async publications(channel, count) {
    const pushed = (items) =>
      items.flatMap(({ push }) => (push?.pub && push.channel === channel ? [push.pub] : []));
    const enough = (items) => pushed(items).length >= count;
    return pushed(await this.inbox.until(enough, `${count} publications of ${channel}`));
  }

  /** Code and reason of the close frame. */
  end() {
    return within(this.closed, "the broker closes the connection");
  }
}

/** A backend: one call of the server API. */
export async function callApi(broker, method, body = {}) {
  const response = await post(broker, `/api/${method}`, JSON.stringify(body));
  if (response.status !== 200) throw new Error(`${method}: HTTP status ${response.status}`);
  return response.json();
}

/** The same, where what matters is the result. */
export async function result(broker, method, body = {}) {
  const { result, error } = await callApi(broker, method, body);
  if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
  return result;
}

/** The HTTP response to a body. */
export function post(broker, path, body, headers = {}) {
  return fetch(broker.http + path, {
    method: "POST",
    headers: { "X-API-Key": API_KEY, "Content-Type": "application/json", ...headers },
    body,
    signal: AbortSignal.timeout(30_000),
  });
}
