/**
 * Statistics in the text format of Prometheus, made when somebody asks: nothing is kept between two scrapes. Labels name parts of
 * the product and reasons, never users or addresses. What each name means beside the stock names stands in docs/metrics.md.
 */
import { type Metric, Registry } from 'prom-client';
import { SECOND } from '../wire/time.ts';
import { dropsOf } from './rates.ts';
import { type EngineStatistics, type ShardStatistics, turnBucketStart } from './statistics.ts';

/** An instance, and what its engine counts; null while none answers. */
export interface MetricsSource {
  readonly role: 'server' | 'client';
  readonly tun: string;
  readonly generation: number;
  readonly statistics: EngineStatistics | null;
}

export const CONTENT_TYPE = Registry.PROMETHEUS_CONTENT_TYPE;

type Labels = Readonly<Record<string, string | number>>;

interface Sample {
  readonly value: number;
  readonly labels?: Labels;
  /** Histograms: the name with its ending. */
  readonly metricName?: string;
}

export interface Family {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  /** What the stock server calls it, or what comes nearest (protocol specification §12). */
  readonly stock?: readonly string[];
  readonly samples: (statistics: EngineStatistics) => readonly Sample[];
}

type Events = readonly (readonly [label: string, counter: string])[];

const perShard = (figure: (shard: ShardStatistics) => number) => (statistics: EngineStatistics) =>
  statistics.shards.map((shard) => ({ labels: { shard: shard.shard }, value: figure(shard) }));

const fromPort = (label: string, counters: Events) => (statistics: EngineStatistics) =>
  statistics.shards.flatMap(({ shard, port }) =>
    counters.map(([value, counter]) => ({ labels: { shard, [label]: value }, value: port[counter] ?? 0 })),
  );

const perStage =
  (figure: 'vectors' | 'entries' | 'timedEntries' | 'timedMicros', scale = 1) =>
  (statistics: EngineStatistics) =>
    statistics.shards.flatMap(({ shard, stages }) =>
      stages.map((stage) => ({ labels: { shard, stage: stage.stage }, value: stage[figure] / scale })),
    );

const whole =
  (figure: (statistics: EngineStatistics) => number | null | undefined) => (statistics: EngineStatistics) => {
    const value = figure(statistics);
    return value === null || value === undefined ? [] : [{ value }];
  };

const ages = (kind: 'active' | 'standby') => (statistics: EngineStatistics) =>
  ['5m', '15m', '60m'].flatMap((within, i) =>
    statistics.ages ? [{ labels: { within }, value: statistics.ages[kind][i] }] : [],
  );

/** Upper ends of the train length buckets (TRAIN_BUCKETS). */
const LENGTH_ENDS = ['1', '3', '7', '15', '31', '63', '127', '+Inf'];

function trainLengths({ shards }: EngineStatistics): Sample[] {
  const name = 'ringway_train_datagrams';
  return shards.flatMap(({ shard, port, trainsIn, trainsOut }) =>
    (['in', 'out'] as const).flatMap((direction) => {
      let trains = 0;
      const labels = { shard, direction };
      const buckets = (direction === 'in' ? trainsIn : trainsOut).map((count, i) => {
        trains += count;
        return { metricName: `${name}_bucket`, labels: { ...labels, le: LENGTH_ENDS[i] }, value: trains };
      });
      const datagrams = port[direction === 'in' ? 'udpDatagramsIn' : 'udpDatagramsOut'] ?? 0;
      return [
        ...buckets,
        { metricName: `${name}_sum`, labels, value: datagrams },
        { metricName: `${name}_count`, labels, value: trains },
      ];
    }),
  );
}

const BUCKETS_PER_DOUBLING = 4; // of turnBucketStart; one bound a doubling is enough here
const TURN_DOUBLINGS = 20; // 1 µs to 1 s

/** Without a sum: a turn's time is kept by its bucket alone. */
function turnTimes({ shards }: EngineStatistics): Sample[] {
  const name = 'ringway_turn_seconds';
  return shards.flatMap(({ shard, turnTimes: times }) => {
    const within = (end: number) => times.slice(0, end).reduce((all, each) => all + each, 0);
    const buckets = Array.from({ length: TURN_DOUBLINGS }, (_, i) => {
      const end = (i + 1) * BUCKETS_PER_DOUBLING;
      const le = turnBucketStart(end) / SECOND;
      return { metricName: `${name}_bucket`, labels: { shard, le }, value: within(end) };
    });
    const all = within(times.length);
    return [
      ...buckets,
      { metricName: `${name}_bucket`, labels: { shard, le: '+Inf' }, value: all },
      { metricName: `${name}_count`, labels: { shard }, value: all },
    ];
  });
}

/** Counters of session.control that have a family of their own. */
const NAMED_EVENTS = ['sessionsOpened', 'sessionsClosed', 'rejectsSent', 'floats'];

/** Every family but `ringway_up` and `ringway_engine_generation`, which are there without an engine. */
export const FAMILIES: readonly Family[] = [
  {
    name: 'ringway_sessions',
    type: 'gauge',
    help: 'Sessions, handshakes under way included',
    samples: perShard(({ sessions }) => sessions),
  },
  {
    name: 'ringway_sessions_online',
    type: 'gauge',
    help: 'Sessions that are logged in',
    stock: ['sessions_current_online'],
    samples: perShard(({ online }) => online),
  },
  {
    name: 'ringway_sessions_opened_total',
    type: 'counter',
    help: 'Sessions begun',
    stock: ['conn_created', 'sessions_lifetime_total'],
    samples: perShard(({ control }) => control.sessionsOpened ?? 0),
  },
  {
    name: 'ringway_sessions_closed_total',
    type: 'counter',
    help: 'Sessions ended, for whatever reason',
    stock: ['conn_closed'],
    samples: perShard(({ control }) => control.sessionsClosed ?? 0),
  },
  {
    name: 'ringway_sessions_active',
    type: 'gauge',
    help: 'Online sessions with inner packets within the time',
    stock: ['sessions_active_5m', 'sessions_active_15m', 'sessions_active_60m'],
    samples: ages('active'),
  },
  {
    name: 'ringway_sessions_standby',
    type: 'gauge',
    help: 'Online sessions with datagrams within the time, but no inner packets',
    stock: ['sessions_standby_5m', 'sessions_standby_15m', 'sessions_standby_60m'],
    samples: ages('standby'),
  },
  {
    name: 'ringway_pending_id_rotations',
    type: 'gauge',
    help: 'Sessions whose new id the peer has not used yet',
    stock: ['sessions_pending_id_rotations'],
    samples: whole(({ ages: all }) => all?.pendingRotations),
  },
  {
    name: 'ringway_assigned_addresses',
    type: 'gauge',
    help: 'Inside addresses given to sessions',
    stock: ['assigned_internal_ips'],
    samples: whole(({ assignedAddresses }) => assignedAddresses),
  },
  {
    name: 'ringway_floats_total',
    type: 'counter',
    help: 'Sessions that went on from another outside address',
    stock: ['udp_conn_recovered_via_session'],
    samples: perShard(({ control }) => control.floats ?? 0),
  },
  {
    name: 'ringway_rejects_sent_total',
    type: 'counter',
    help: 'Reject datagrams sent to unknown sessions',
    stock: ['udp_rejected_session'],
    samples: perShard(({ control }) => control.rejectsSent ?? 0),
  },
  {
    name: 'ringway_datagrams_total',
    type: 'counter',
    help: 'UDP datagrams from (in) and to (out) the outside',
    samples: fromPort('direction', [
      ['in', 'udpDatagramsIn'],
      ['out', 'udpDatagramsOut'],
    ]),
  },
  {
    name: 'ringway_datagram_bytes_total',
    type: 'counter',
    help: 'Bytes in those datagrams',
    samples: fromPort('direction', [
      ['in', 'udpBytesIn'],
      ['out', 'udpBytesOut'],
    ]),
  },
  {
    name: 'ringway_train_datagrams',
    type: 'histogram',
    help: 'Datagrams per train: per UDP_GRO receive (in), per sendmsg (out)',
    stock: ['udp_send_batch_size'],
    samples: trainLengths,
  },
  {
    name: 'ringway_tun_packets_total',
    type: 'counter',
    help: 'Packets and superpackets read from (in) and written to (out) the TUN device',
    samples: fromPort('direction', [
      ['in', 'tunPacketsIn'],
      ['out', 'tunPacketsOut'],
    ]),
  },
  {
    name: 'ringway_tun_bytes_total',
    type: 'counter',
    help: 'Bytes read from (in) and written to (out) the TUN device',
    stock: ['tun_to_client', 'tun_from_client'],
    samples: fromPort('direction', [
      ['in', 'tunBytesIn'],
      ['out', 'tunBytesOut'],
    ]),
  },
  {
    name: 'ringway_system_calls_total',
    type: 'counter',
    help: 'System calls for packets, waits included',
    samples: perShard(({ port }) => port.systemCalls ?? 0),
  },
  {
    name: 'ringway_port_events_total',
    type: 'counter',
    help: 'What a port met: refused trains (gsoRefused), superpackets (tunGsoRefused), full sockets (eagain), wake-ups, no free receive blocks, receive errors',
    stock: ['udp_send_batch_blocked', 'gso_send_failed'],
    samples: fromPort('event', [
      ['gsoRefused', 'gsoRefused'],
      ['tunGsoRefused', 'tunGsoRefused'],
      ['eagain', 'eagain'],
      ['wake', 'wakes'],
      ['noBuffers', 'noBuffers'],
      ['receiveError', 'receiveErrors'],
    ]),
  },
  {
    name: 'ringway_queued',
    type: 'gauge',
    help: 'Trains that wait for the socket (out), superpackets that wait for the TUN device (in)',
    samples: fromPort('direction', [
      ['out', 'udpQueued'],
      ['in', 'tunQueued'],
    ]),
  },
  {
    name: 'ringway_handovers_total',
    type: 'counter',
    help: 'Trains and superpackets handed to (out) and taken from (in) other shards',
    samples: ({ shards }) =>
      shards.flatMap(({ shard, verdicts, port }) => [
        { labels: { shard, direction: 'out' }, value: verdicts.handedOver ?? 0 },
        { labels: { shard, direction: 'in' }, value: port.takenOver ?? 0 },
      ]),
  },
  {
    name: 'ringway_drops_total',
    type: 'counter',
    help: 'Packets and datagrams dropped, by reason',
    stock: [
      'expresslane_decrypt_failed',
      'expresslane_decrypt_no_key',
      'expresslane_encrypt_no_key',
      'gso_dropped_invalid_hdr_len',
      'inside_io_send_failed',
      'tun_rejected_packet_invalid_inside_packet',
      'tun_rejected_packet_invalid_state',
      'tun_rejected_packet_no_connection',
      'udp_bad_packet_version',
      'udp_no_header',
      'udp_parse_wire_failed',
      'udp_recv_truncated',
      'udp_send_batch_dropped',
    ],
    samples: ({ shards }) =>
      shards.flatMap((shard) =>
        Object.entries(dropsOf(shard)).map(([reason, value]) => ({ labels: { shard: shard.shard, reason }, value })),
      ),
  },
  {
    name: 'ringway_control_events_total',
    type: 'counter',
    help: 'What sessions and handshakes met beside bulk packets: frames ignored by reason, ClientHellos refused (hello.…), output lost',
    stock: ['conn_data_after_disconnect', 'received_encoding_req_non_online', 'session_id_mismatch'],
    samples: ({ shards }) =>
      shards.flatMap(({ shard, control }) =>
        Object.entries(control)
          .filter(([event]) => !NAMED_EVENTS.includes(event))
          .map(([event, value]) => ({ labels: { shard, event }, value })),
      ),
  },
  {
    name: 'ringway_tun_device_drops_total',
    type: 'counter',
    help: 'Packets and superpackets that the kernel dropped at the TUN device, whose queue was full, since there is such a device',
    samples: whole(({ tunDropped }) => tunDropped),
  },
  {
    name: 'ringway_stage_vectors_total',
    type: 'counter',
    help: 'Calls of a pipeline stage that had something to work on',
    samples: perStage('vectors'),
  },
  {
    name: 'ringway_stage_entries_total',
    type: 'counter',
    help: 'Entries a pipeline stage worked on',
    stock: ['tun_recv_batch_size'],
    samples: perStage('entries'),
  },
  {
    name: 'ringway_stage_timed_entries_total',
    type: 'counter',
    help: 'Entries in the turns and passes that were timed: one in 61',
    samples: perStage('timedEntries'),
  },
  {
    name: 'ringway_stage_timed_seconds_total',
    type: 'counter',
    help: 'What the timed entries took',
    samples: perStage('timedMicros', SECOND),
  },
  {
    name: 'ringway_stage_drops_total',
    type: 'counter',
    help: 'Drops by stage and reason; reasons that never happened are left out',
    samples: ({ shards }) =>
      shards.flatMap(({ shard, stages }) =>
        stages.flatMap(({ stage, drops }) =>
          Object.entries(drops).map(([reason, value]) => ({ labels: { shard, stage, reason }, value })),
        ),
      ),
  },
  {
    name: 'ringway_turns_total',
    type: 'counter',
    help: "Turns of a shard's loop",
    samples: perShard(({ turns }) => turns),
  },
  {
    name: 'ringway_turn_seconds',
    type: 'histogram',
    help: 'Turns with work by how long they took, passes of the event loop between them included; no sum',
    samples: turnTimes,
  },
  {
    name: 'ringway_shard_cpu_seconds_total',
    type: 'counter',
    help: "CPU time of a shard's thread",
    samples: perShard(({ cpuMicros }) => cpuMicros / SECOND),
  },
  {
    name: 'ringway_engine_cpu_seconds_total',
    type: 'counter',
    help: 'CPU time of the engine: shards, main thread, crypto threads',
    samples: whole(({ cpuMicros }) => cpuMicros / SECOND),
  },
  {
    name: 'ringway_engine_main_cpu_seconds_total',
    type: 'counter',
    help: "CPU time of the engine's main thread",
    samples: whole(({ mainCpuMicros }) => mainCpuMicros / SECOND),
  },
  {
    name: 'ringway_engine_resident_memory_bytes',
    type: 'gauge',
    help: 'Resident memory of the engine',
    samples: whole(({ residentBytes }) => residentBytes),
  },
];

/** The text of a scrape. @param sources each with its role and TUN device as labels */
export async function exposition(sources: readonly MetricsSource[]): Promise<string> {
  const registry = new Registry();
  const add = ({ name, type, help }: Omit<Family, 'samples' | 'stock'>, values: readonly Sample[]) => {
    // A metric is to the registry what has a name and tells its values; those of prom-client can only be counted up.
    registry.registerMetric({ name, get: async () => ({ name, type, help, values }) } as unknown as Metric);
  };
  const labelled = (samples: (source: MetricsSource) => readonly Sample[]) =>
    sources.flatMap((source) =>
      samples(source).map((sample) => ({
        ...sample,
        labels: { role: source.role, tun: source.tun, ...sample.labels },
      })),
    );
  add(
    { name: 'ringway_up', type: 'gauge', help: '1 while an engine answers' },
    labelled(({ statistics }) => [{ value: statistics ? 1 : 0 }]),
  );
  add(
    { name: 'ringway_engine_generation', type: 'gauge', help: 'Engines this keeper has started; counters begin anew' },
    labelled(({ generation }) => [{ value: generation }]),
  );
  for (const family of FAMILIES) {
    const values = labelled(({ statistics }) => (statistics ? family.samples(statistics) : []));
    if (values.length > 0) add(family, values);
  }
  return registry.metrics();
}
