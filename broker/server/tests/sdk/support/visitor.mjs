// A process of its own that subscribes to a topic and stays until it is killed:
//   node visitor.mjs URL TOPIC

import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

const [url, topic] = process.argv.slice(2);
const client = new Centrifuge(url, { websocket: WebSocket });
client.newSubscription(topic).subscribe();
client.connect();
