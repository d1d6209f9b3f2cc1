// Clients: the stock SDK, a client that speaks the protocol by hand, and a backend.

import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

import { API_KEY } from "./broker.mjs";
import { event, Inbox, within } from "./wait.mjs";

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

  /** The SDK, not connected yet. */
  sdkIdle(options = {}) {
    const client = new Centrifuge(this.broker.websocket, {
      websocket: WebSocket,
      minReconnectDelay: 20,
      maxReconnectDelay: 200,
      ...options,
    });
    // Without a listener the emitter of the SDK throws away what went wrong.
    client.errors = [];
    client.on("error", (context) => client.errors.push(context));
    this.#open.push(() => client.disconnect());
    return client;
  }

  /** A client that sends what it is told and keeps what comes. */
  async raw({ query = "", headers = {}, pong = true } = {}) {
    const client = new RawClient(this.broker.websocket + query, headers, pong);
    this.#open.push(() => client.socket.terminate());
    await within(client.opened, "the WebSocket opens");
    return client;
  }

  close() {
    for (const close of this.#open) close();
    this.#open = [];
  }
}

/** A subscription of the SDK that is active, with an inbox of its payloads. */
export async function subscribe(client, topic) {
  const subscription = client.newSubscription(topic);
  subscription.inbox = new Inbox();
  subscription.on("publication", (context) => subscription.inbox.push(context.data));
  const subscribed = event(subscription, "subscribed");
  subscription.subscribe();
  await subscribed;
  return subscription;
}

class RawClient {
  constructor(url, headers, pong) {
    this.inbox = new Inbox();
    this.pings = new Inbox();
    this.socket = new WebSocket(url, { headers });
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

  /** Code and reason of the close frame. */
  end() {
    return within(this.closed, "the broker closes the connection");
  }
}

/** A backend: one call of the server API. */
export async function callApi(broker, method, body = {}) {
  const response = await fetch(`${broker.http}/api/${method}`, {
    method: "POST",
    headers: { "X-API-Key": API_KEY, "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(30_000),
  });
  if (response.status !== 200) throw new Error(`${method}: HTTP status ${response.status}`);
  return response.json();
}
