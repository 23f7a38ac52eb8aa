/** Every key of the stock client (protocol specification §11.3), in its order, with its default and meaning. */

import { MS, SECOND } from '../wire/time.ts';
import {
  bufferSize,
  choice,
  deviceName,
  duration,
  endpoint,
  flag,
  integer,
  ipv4,
  key,
  optional,
  path,
  someDuration,
  text,
} from './keys.ts';

/** Of environment variables. */
export const CLIENT_PREFIX = 'LW_CLIENT_';

const MINUTE = 60 * SECOND;
const MTU = integer(68, 1500);
const OWN_IO = 'see io in the ringway map';

/** What each entry of `servers` may have; those that also exist globally fall back to the global value. */
export const serverEntryKeys = {
  server: key(optional(endpoint()), null, 'host:port'),
  mode: key(choice('tcp', 'udp'), 'tcp', 'transport'),
  server_dn: key(text(), '', 'expected certificate name', { verbatim: true }),
  cipher: key(choice('aes256', 'chacha20'), 'aes256', 'packet cipher'),
  user: key(optional(text()), null, 'login name', { verbatim: true }),
  password: key(optional(text()), null, 'password', { verbatim: true, secret: true }),
  token: key(optional(text()), null, 'token', { verbatim: true, secret: true }),
  outside_mtu: key(MTU, 1500, 'MTU of the path to the server'),
  ca_cert: key(optional(path()), null, 'authority, path or PEM'),
};

export const clientKeys = {
  server: key(text(), '', 'server to use', { short: 's', value: 'HOST:PORT' }),
  mode: key(choice('tcp', 'udp'), 'tcp', 'transport', { short: 'm', value: 'tcp|udp' }),
  server_dn: key(text(), '', 'expected certificate name; empty: not checked', { value: 'NAME', verbatim: true }),
  cipher: key(choice('aes256', 'chacha20'), 'aes256', 'packet cipher', { value: 'aes256|chacha20' }),
  token: key(optional(text()), null, 'token to log in with', { value: 'TOKEN', verbatim: true, secret: true }),
  user: key(optional(text()), null, 'login name', { short: 'u', value: 'NAME', verbatim: true }),
  password: key(optional(text()), null, 'password; better kept in the file: others see arguments', {
    short: 'p',
    value: 'PASSWORD',
    verbatim: true,
    secret: true,
  }),
  ca_cert: key(path(), './ca_cert.crt', 'authority that signs servers: a path, or the PEM itself', {
    value: 'FILE|PEM',
  }),
  outside_mtu: key(MTU, 1500, 'MTU of the path to the server', { value: 'BYTES' }),
  tun_name: key(deviceName(), 'lightway', 'TUN device, created unless it exists', {
    short: 't',
    value: 'NAME',
    verbatim: true,
  }),
  tun_local_ip: key(ipv4(), '100.64.0.6', 'own address inside', { value: 'IP' }),
  tun_peer_ip: key(ipv4(), '100.64.0.5', 'peer address inside', { value: 'IP' }),
  tun_dns_ip: key(ipv4(), '100.64.0.1', 'name server inside', { value: 'IP' }),
  keyshare: key(choice('p521mlkem1024', 'x25519mlkem768'), 'p521mlkem1024', 'key exchange offered first', {
    value: 'p521mlkem1024|x25519mlkem768',
  }),
  keepalive_interval: key(someDuration(), 10 * SECOND, 'time between Pings', { value: 'TIME' }),
  keepalive_timeout: key(someDuration(), 60 * SECOND, 'silence after which the server is given up', { value: 'TIME' }),
  keepalive_continuous: key(flag(), true, 'Pings from the first moment on'),
  tracer_packet_timeout: key(duration(), 10 * SECOND, 'silence after which a network change is assumed', {
    value: 'TIME',
  }),
  preferred_connection_wait_interval: key(duration(), 0, 'how long the first of several servers is waited for', {
    value: 'TIME',
  }),
  sndbuf: key(bufferSize(), 8 * 2 ** 20, 'send buffer of the UDP socket', { value: 'SIZE' }),
  rcvbuf: key(bufferSize(), 8 * 2 ** 20, 'receive buffer of the UDP socket', { value: 'SIZE' }),
  enable_batch_receive: key(flag(), false, 'recvmmsg of the stock client', {
    inert: 'Ringway always receives in batches',
  }),
  route_mode: key(choice('default', 'lan', 'noexec'), 'default', 'routes: all traffic, all but the LAN, none', {
    value: 'default|lan|noexec',
  }),
  fwmark: key(integer(0, 2 ** 32 - 1), 0, 'mark of the outside socket, 0: none', { value: 'N' }),
  dns_config_mode: key(choice('default', 'noexec'), 'default', 'use the name server inside, or leave names alone', {
    value: 'default|noexec',
  }),
  log_level: key(choice('trace', 'debug', 'info', 'warn', 'error', 'off'), 'info', 'least severity logged', {
    value: 'LEVEL',
  }),
  enable_expresslane: key(flag(), false, 'Expresslane packets (UDP only)'),
  expresslane_keys_rotation_interval: key(someDuration(), 15 * MINUTE, 'age at which Expresslane keys change', {
    value: 'TIME',
  }),
  enable_pmtud: key(flag(), false, 'find the path MTU'),
  pmtud_base_mtu: key(optional(MTU), null, 'where that search begins; none: 1250', { value: 'BYTES' }),
  enable_tun_iouring: key(flag(), false, 'io_uring of the stock client', { inert: OWN_IO }),
  iouring_entry_count: key(integer(1, 32_768), 1024, 'ring entries of the stock client', { value: 'N', inert: OWN_IO }),
  iouring_sqpoll_idle_time: key(duration(), 100 * MS, 'SQPOLL of the stock client', { value: 'TIME', inert: OWN_IO }),
  enable_inside_pkt_encoding: key(flag(), false, 'packet codec', { short: 'e', inert: 'no codec is built in' }),
  accept_unknowns: key(flag(), false, 'ignore unknown keys', { short: 'a' }),
};
