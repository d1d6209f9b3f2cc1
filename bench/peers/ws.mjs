// Fan-out over the npm package `ws`: a set of sockets per topic, and a loop.
//
//   node ws.mjs PORT
//
// GET /…?id=TOPIC as a WebSocket subscribes, and what is said on it is published there.
// POST /…?id=TOPIC publishes the body.
import { createServer } from "node:http";

import { WebSocketServer } from "ws";

const topics = new Map();

function topicOf(request) {
  const name = new URL(request.url, "http://peer").searchParams.get("id") ?? "";
  let sockets = topics.get(name);
  if (sockets === undefined) topics.set(name, (sockets = new Set()));
  return sockets;
}

// `ws` frames what it is given for each socket, but copies no Buffer.
function publish(sockets, message) {
  for (const socket of sockets) socket.send(message, { binary: false });
}

const server = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  publish(topicOf(request), Buffer.concat(parts));
  response.end("ok");
});

const websockets = new WebSocketServer({ server, perMessageDeflate: false });
websockets.on("connection", (socket, request) => {
  const sockets = topicOf(request);
  sockets.add(socket);
  socket.on("message", (message) => publish(sockets, message));
  socket.on("close", () => sockets.delete(socket));
  socket.on("error", () => socket.terminate());
});

server.listen(Number(process.argv[2]), "127.0.0.1", 4096);
