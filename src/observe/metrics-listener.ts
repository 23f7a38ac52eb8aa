/** `metrics_address`: GET /metrics over HTTP, for a Prometheus that cannot reach the control socket. Off unless it is asked for. */
import { createServer } from 'node:http';
import { CONTENT_TYPE, exposition, type MetricsSource } from './metrics.ts';

export interface MetricsListener {
  readonly portNumber: number;
  close(): void;
}

/** A scrape every 15 s needs one; more connections than this are somebody else's. */
const MOST_CONNECTIONS = 16;
const REQUEST_WITHIN_MS = 5_000;

/**
 * Listens until it is closed, and keeps no process alive.
 * @param source looks at the counters, for each scrape
 * @returns rejects with the system's error (EADDRINUSE) when the address is not to be had
 */
export function listenForMetrics(
  address: { readonly host: string; readonly portNumber: number },
  source: () => Promise<MetricsSource>,
): Promise<MetricsListener> {
  const server = createServer((request, response) => {
    if (request.url?.split('?')[0] !== '/metrics') return void response.writeHead(404).end('metrics are at /metrics\n');
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return void response.writeHead(405, { allow: 'GET, HEAD' }).end();
    source()
      .then((now) => exposition([now]))
      .then(
        (text) => response.writeHead(200, { 'content-type': CONTENT_TYPE }).end(text),
        () => response.writeHead(503).end('no statistics now\n'),
      );
  });
  server.maxConnections = MOST_CONNECTIONS;
  server.requestTimeout = REQUEST_WITHIN_MS;
  server.headersTimeout = REQUEST_WITHIN_MS;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: address.host, port: address.portNumber }, () => {
      server.off('error', reject);
      server.on('error', () => {}); // a refused accept is no reason to end
      server.unref();
      const bound = server.address();
      resolve({
        portNumber: typeof bound === 'object' && bound ? bound.port : address.portNumber,
        close: () => {
          server.close();
          server.closeAllConnections();
        },
      });
    });
  });
}
