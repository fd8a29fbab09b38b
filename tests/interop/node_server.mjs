// Node's HTTP server, for the client: `node node_server.mjs PORT`. Counts its connections under /connections.
import http from 'node:http';

let connections = 0;
const server = http.createServer((request, response) => {
  const [, what, n] = request.url.split('/');
  switch (what) {
    case 'bytes':
      response.end(Buffer.alloc(Number(n), 'x'));
      break;
    case 'stream':
      response.setHeader('Trailer', 'X-Sum');
      for (let i = 0; i < 100; i++) response.write(`${String(i).padStart(3, '0')}\n`);
      response.addTrailers({ 'X-Sum': '4950' });
      response.end();
      break;
    case 'early':
      response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' });
      response.end('after hints');
      break;
    case 'redirect':
      response.writeHead(308, { Location: '../bytes/7' }).end();
      break;
    case 'connections':
      response.end(String(connections));
      break;
    case 'cut':
      response.writeHead(200, { 'Content-Length': 100 });
      response.write('ten bytes.');
      setTimeout(() => request.socket.destroy(), 20);
      break;
    default:
      response.writeHead(404).end();
  }
});
server.on('connection', () => connections++);
server.keepAliveTimeout = 60_000;
server.listen(Number(process.argv[2]), '127.0.0.1');
