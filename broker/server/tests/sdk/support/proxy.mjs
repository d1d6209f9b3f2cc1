// A TCP proxy between a client and a broker, which a test can cut without any goodbye.

import { once } from "node:events";
import net from "node:net";

export class Proxy {
  #pairs = new Set();
  #open = true;

  static async start(port) {
    const proxy = new Proxy(port);
    proxy.server.listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    return proxy;
  }

  constructor(port) {
    this.server = net.createServer((client) => this.#join(client, port));
  }

  get websocket() {
    return `ws://127.0.0.1:${this.server.address().port}/connection/websocket`;
  }

  /** Breaks every connection; what is still on its way is lost. */
  cut() {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    this.#pairs.clear();
  }

  /** Cuts, and lets nobody through until `open()`. */
  close() {
    this.#open = false;
    this.cut();
  }

  open() {
    this.#open = true;
  }

  async stop() {
    this.close();
    this.server.close();
    await once(this.server, "close");
  }

  #join(client, port) {
    if (!this.#open) return client.destroy();
    const broker = net.connect(port, "127.0.0.1");
    const pair = [client, broker];
    this.#pairs.add(pair);
    for (const [from, to] of [pair, pair.toReversed()]) {
      from.setNoDelay(true);
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
    return client.on("close", () => this.#pairs.delete(pair));
  }
}
