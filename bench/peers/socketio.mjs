// Fan-out over the npm package `socket.io`: its rooms are the topics.
//
//   node socketio.mjs PORT
//
// The events "subscribe" (topic), "unsubscribe" (topic) and "publish" (topic, data) are
// acknowledged when that is asked for; subscribers hear "message" (topic, data).
import { createServer } from "node:http";

import { Server } from "socket.io";

const server = createServer();
const io = new Server(server, { transports: ["websocket"], serveClient: false });

io.on("connection", (socket) => {
  socket.on("subscribe", (topic, done) => {
    socket.join(topic);
    done?.({});
  });
  socket.on("unsubscribe", (topic, done) => {
    socket.leave(topic);
    done?.({});
  });
  socket.on("publish", (topic, data, done) => {
    io.to(topic).emit("message", topic, data);
    done?.({});
  });
});

server.listen(Number(process.argv[2]), "127.0.0.1", 4096);
