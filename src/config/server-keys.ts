/** Every key of the stock server (protocol specification §11.2), in its order, with its default and meaning. */

import { MS, SECOND } from '../wire/time.ts';
import {
  bindAddress,
  bufferSize,
  choice,
  deviceName,
  duration,
  flag,
  integer,
  ipv4,
  key,
  optional,
  path,
  pool,
  someDuration,
} from './keys.ts';

/** Of environment variables. */
export const SERVER_PREFIX = 'LW_SERVER_';

const MINUTE = 60 * SECOND;
const ALWAYS_BATCHED = 'Ringway always sends and receives in batches';
const OWN_OFFLOAD = 'see tun_offload in the ringway map, which is on by default';
const OWN_IO = 'see io in the ringway map';

export const serverKeys = {
  mode: key(choice('tcp', 'udp'), 'tcp', 'transport', { short: 'm', value: 'tcp|udp' }),
  user_db: key(optional(path()), null, 'file of users and password hashes', { value: 'FILE' }),
  token_rsa_pub_key_pem: key(optional(path()), null, 'RSA public key that tokens are checked with', { value: 'FILE' }),
  server_cert: key(path(), './server.crt', 'certificate chain, PEM', { value: 'FILE' }),
  server_key: key(path(), './server.key', 'private key, PEM', { value: 'FILE' }),
  tun_name: key(optional(deviceName()), null, 'TUN device, created unless it exists', {
    value: 'NAME',
    verbatim: true,
  }),
  ip_pool: key(pool(), { address: '10.125.0.0', prefix: 16 }, 'network that clients get addresses from', {
    value: 'CIDR',
  }),
  ip_map: key(optional(path()), null, 'YAML file with a map of local address to client network', { value: 'FILE' }),
  tun_ip: key(optional(ipv4()), null, 'address of the TUN device: never given to a client', { value: 'IP' }),
  lightway_server_ip: key(ipv4(), '10.125.0.6', 'peer address told to clients', { value: 'IP' }),
  lightway_client_ip: key(ipv4(), '10.125.0.5', 'own address told to clients', { value: 'IP' }),
  lightway_dns_ip: key(ipv4(), '10.125.0.1', 'name server told to clients', { value: 'IP' }),
  enable_expresslane: key(flag(), false, 'Expresslane packets (UDP only)'),
  expresslane_keys_rotation_interval: key(someDuration(), 15 * MINUTE, 'age at which Expresslane keys change', {
    value: 'TIME',
  }),
  connection_age_expiration_interval: key(
    duration(),
    MINUTE,
    'how often the stock server looks at the age of sessions',
    {
      value: 'TIME',
      inert: 'a session that has sent nothing for 24 h ends at that moment, not at the next look',
    },
  ),
  statistics_reporting_interval: key(duration(), 30 * SECOND, 'how often statistics are logged', { value: 'TIME' }),
  enable_pqc: key(flag(), false, 'post-quantum key exchange of the stock server; here see --groups', {
    inert: 'see groups in the ringway map, where it comes first by default',
  }),
  enable_tun_offload: key(flag(), false, 'TUN offload of the stock server', { inert: OWN_OFFLOAD }),
  enable_tun_iouring: key(flag(), false, 'io_uring of the stock server', { inert: OWN_IO }),
  iouring_entry_count: key(integer(1, 32_768), 1024, 'ring entries of the stock server', { value: 'N', inert: OWN_IO }),
  iouring_sqpoll_idle_time: key(duration(), 100 * MS, 'SQPOLL of the stock server', { value: 'TIME', inert: OWN_IO }),
  log_format: key(choice('full', 'compact', 'pretty', 'json'), 'full', 'form of log lines', {
    value: 'full|compact|pretty|json',
  }),
  log_level: key(choice('trace', 'debug', 'info', 'warn', 'error', 'off'), 'info', 'least severity logged', {
    value: 'LEVEL',
  }),
  key_update_interval: key(someDuration(), 15 * MINUTE, 'age at which DTLS and TLS keys change', { value: 'TIME' }),
  bind_address: key(bindAddress(), { host: '0.0.0.0', portNumber: 27_690 }, 'outside address', { value: 'IP:PORT' }),
  proxy_protocol: key(flag(), false, 'expect a PROXY protocol v2 header (TCP only)'),
  udp_buffer_size: key(bufferSize(), 15 * 2 ** 20, 'size of UDP socket buffers', { value: 'SIZE' }),
  enable_batch_receive: key(flag(), false, 'recvmmsg of the stock server', { inert: ALWAYS_BATCHED }),
  enable_batch_send: key(flag(), false, 'sendmmsg of the stock server', { inert: ALWAYS_BATCHED }),
  accept_unknowns: key(flag(), false, 'ignore unknown keys', { short: 'a' }),
};
