/**
 * The addon's contract. Every function validates its arguments: a wrong one throws TypeError or RangeError that names
 * function, argument and range ("transmitTrain: length must be an integer from 1 to 65000, got 70000"); the kernel's
 * refusals throw Error with `code` ('EPERM'), `errno` (1) and `syscall` ('ioctl(TUNSETIFF)'). Nothing here throws for what a peer sent.
 *
 * Handles are opaque externals with a type tag; each has one owner (the thread that made it) and is closed by its close
 * function, by garbage collection, or by the environment's clean-up hook, also when a worker is terminated under load.
 * Mappings belong to a process-wide registry and are unmapped only when no ring can touch them any more.
 */

declare const tag: unique symbol;
type Handle<T extends string> = { readonly [tag]: T };
export type ArenaHandle = Handle<'arena'>;
export type BatchHandle = Handle<'batch'>;
export type PortHandle = Handle<'port'>;
export type TableHandle = Handle<'table'>;
export type IndexHandle = Handle<'index'>;
export type LanesHandle = Handle<'lanes'>;
export type HandoverHandle = Handle<'handover'>;
export type SecretHandle = Handle<'secret'>;
export type RecordKeysHandle = Handle<'recordKeys'>;
export type SteeringHandle = Handle<'steering'>;
export type PacerHandle = Handle<'pacer'>;
export type PassHandle = Handle<'pass'>;
export type ListenerHandle = Handle<'listener'>;
export type FleetHandle = Handle<'fleet'>;
export type TrafficHandle = Handle<'traffic'>;

/** Offsets into the bytes of the call, and lengths. The nonce has 12 bytes, the tag 16. */
export interface AeadItem {
  readonly nonce: number;
  readonly aad: number;
  readonly aadLength: number;
  readonly at: number; // of the text
  readonly length: number;
  readonly tag: number;
  readonly skip?: boolean; // opening: leave it as it is, not authentic
}

export interface Addon {
  // ---- what this build is ---------------------------------------------------------------------------------------
  /** `sanitizer` is '' in release builds; `aead` lists what was compiled in and what this CPU can run, fastest first. */
  about(): { version: string; sanitizer: string; aead: ('ipsec-mb' | 'openssl')[]; cpu: string[]; liburing: string };
  /** Byte offset of each column for `capacity` entries, and the total: must equal batchLayout() of src/datapath/batch.ts. */
  batchLayout(capacity: number): { offsets: Record<string, number>; bytes: number };
  /** Must equal VERDICTS of src/datapath/batch.ts. */
  verdicts(): string[];
  /** Must equal src/datapath/layout.ts. */
  tableLayout(): { public: Record<string, number>; secret: Record<string, number>; publicSlotBytes: number; secretSlotBytes: number };

  // ---- native/core: memory ----------------------------------------------------------------------------------------
  /** @param blockSize 64 to 1,048,576, multiple of 64  @param blockCount 1 to 32,768 (a power of two where a port lends it to the kernel) */
  createArena(blockSize: number, blockCount: number): { handle: ArenaHandle; buffer: ArrayBuffer };
  /** @param capacity 1 to 65,536 */
  createBatch(arena: ArenaHandle, capacity: number): { handle: BatchHandle; buffer: ArrayBuffer };
  /** Copies `bytes` into the batch's arena and appends an entry (verdict pass). The way control output and TCP packets enter a pipeline.
   * Small entries share a block; 64 bytes before each entry stay free. @param address 40 bytes or undefined @returns false when no entry or block is free: try again after transmit */
  put(batch: BatchHandle, slot: number, kind: number, address: Uint8Array | undefined, bytes: Uint8Array): boolean;
  /** Drops every entry's reference to its block, sets count to 0. Blocks go back to whoever lends them (the port's receive ring) */
  clear(batch: BatchHandle): void;
  /** Blocks nobody refers to, those lent to the kernel included. */
  freeBlocks(arena: ArenaHandle): number;

  /** What the process-wide registry holds. `quarantined`: mappings a ring could not confirm to be idle in time; they stay until the process ends. */
  mappings(): { count: number; bytes: number; quarantined: number };

  // ---- native/io: ports -------------------------------------------------------------------------------------------
  /**
   * One port set per shard: TUN queue, UDP socket, and the wake-ups, over io_uring or epoll: same functions, same entries, same order.
   * `tun` / `udp` may be -1 (absent). The receive arenas' blocks are lent to the kernel; entries of receive calls hold their blocks
   * until clear(). @throws Error code ENOSYS/EPERM/ENOMEM when the kernel refuses io_uring: the caller falls back to epoll.
   */
  openPort(options: {
    io: 'io_uring' | 'epoll';
    tun: number; // descriptor of a TUN queue; made without O_NONBLOCK (io_uring needs that; epoll sets what it needs per call)
    vnetHeader: boolean; // the TUN has IFF_VNET_HDR: 10-byte virtio_net_hdr on every read and write
    udp: number;
    doors?: readonly number[]; // further sockets, at most three: for handshakes that go on, for strangers, for suspects; read only by doorReceive
    tunReceive?: BatchHandle; // superpackets in; blocks >= 65,536 + 64
    udpReceive?: BatchHandle; // trains in; blocks >= 65,536 + 512
    handover?: HandoverHandle;
    shard?: number;
    sqpoll?: boolean;
    zeroCopy?: boolean;
    entries?: number; // ring size, 16 to 4,096, default 256
    multishotRead?: boolean; // false: plain reads of the TUN, as on kernels before 6.7 (tests)
  }): PortHandle;
  /** Cancels everything in flight, waits (bounded) until the kernel lets go, then frees the ring. Idempotent. The descriptors stay open: they are the keeper's. */
  closePort(port: PortHandle): void;
  /** Waits in the kernel until something arrives or `waitUs` is over (0 = look only). @returns bits: 1 UDP, 2 TUN, 4 handover, 8 a blocked transmit may go on, 16, 32 and 64 the doors that are watched */
  wait(port: PortHandle, waitUs: number): number;
  /** Idle: `callback()` runs once on this thread's event loop when wait() would return non-zero; arm again after it ran. Returns at once with true if work is there already (and does not arm). */
  arm(port: PortHandle, callback: () => void): boolean;
  /** Busy: this thread takes turns (passTurns) in the event loop's place, and looks after the event loop at least once a millisecond; where nothing has come for 0.8 ms it is as if armed. `callback()` runs once, when JavaScript is wanted: PASS_STATE says why. The port must have a pass. */
  goOn(port: PortHandle, callback: () => void): void;
  disarm(port: PortHandle): void;
  /** Fills the port's udpReceive batch from entry 0 (it must have been cleared) with up to `limit` trains; sets offset, length, segmentSize (UDP_GRO, 0 = single), address, block; slot -1, verdict pass. @returns count */
  udpReceive(port: PortHandle, limit: number): number;
  /** Bits of `doors` (1, 2, 4): from now on wait and arm tell of these doors and of no other. None at first. One that is not watched costs nothing but what the kernel does with its datagrams. */
  watchDoors(port: PortHandle, doors: number): void;
  /** The kernel stamps what arrives at the port's socket (SO_TIMESTAMPNS), or no longer; off at first. Costs a look at the clock for every packet. @throws errno of setsockopt */
  stampArrivals(port: PortHandle, on: boolean): void;
  /** Microseconds that the first train received since the last call had waited in the socket, or -1 when none was stamped. */
  arrivalDelay(port: PortHandle): number;
  /**
   * Appends up to `limit` trains of a door, copied, to the udpReceive batch: one recvmmsg of at most 16. At the door of strangers, for a second after the kernel has dropped any, one of 64, of
   * which who was seen there in the last 8 s comes first, and by chance a few of the others. What is not appended is counted like what the kernel drops there. @returns how many were taken from the socket
   */
  doorReceive(port: PortHandle, door: number, limit: number): number;
  /** Same for the tunReceive batch: offset and length are of the IP packet (the vnet header is parsed away); segmentSize, kind (GsoType, ECN masked), flags, checksumStart/Offset. */
  tunReceive(port: PortHandle, limit: number): number;
  /**
   * Sends every entry with verdict pass and kind 0, one sendmsg per entry (UDP_SEGMENT when segmentSize > 0 and length > segmentSize), in order. Entries that cannot leave
   * now (EAGAIN, ENOBUFS) stay queued in the port and go first next time; the batch may be cleared (queued entries keep their blocks). EIO, EINVAL, EMSGSIZE on a
   * train: replayed datagram by datagram in place; flag `unsegmented`, and `error` the errno of the train, so that the caller can turn GSO off for that slot. What fails otherwise, also in a replay: verdict sendFailed, counted.
   * Of a send that the kernel takes a part of: the datagram that was cut is counted, verdict sendFailed, no `error`; those behind it go next. Other verdicts and kind 1 (stream) are left alone. @returns entries still queued in the port afterwards
   */
  udpTransmit(port: PortHandle, trains: BatchHandle): number;
  /** Writes every passing entry, one write each, building the vnet header from segmentSize, kind, flags, checksumStart/Offset, headerLength. A refused superpacket (EINVAL…) is replayed segment by segment, header.refusedTcp or refusedUdp is the errno; what is refused alone, or cut, gets verdict tunRefused and counts by its segments. @returns entries still queued */
  tunTransmit(port: PortHandle, superpackets: BatchHandle): number;
  /** Sends one datagram that no router may fragment (IP_PMTUDISC_PROBE), past whatever is queued. @returns errno, 0 = sent; EMSGSIZE = larger than the interface */
  sendProbe(port: PortHandle, address: Uint8Array, bytes: Uint8Array): number;
  /** What this port did, by name: systemCalls, udpReceiveCalls, udpTrainsIn, udpDatagramsIn, udpTrainsOut, udpDatagramsOut, udpBytesOut, udpBytesIn, tunPacketsIn, tunBytesIn, tunPacketsOut, tunBytesOut, gsoRefused, tunGsoRefused, eagain, sendErrors, tunErrors, socketDrops (SO_MEMINFO: buffers, each a datagram or a train), wakes, noBuffers, truncated, badVnet, receiveErrors, udpQueued, tunQueued, takenOver, handshakeDrops, strangerDrops and suspectDrops (SO_MEMINFO of the doors, and datagrams that were taken there and not chosen), suspectsIn (trains taken at that door), udpBeyondShare and tunBeyondShare (what the programs of filterUdp and shareTun have dropped because the socket, or the queue, held enough of the same session, or address);
   * and trains by length: trainsIn1, trainsIn2 (2 to 3 datagrams), trainsIn4, trainsIn8 … trainsIn128 (128 and more), trainsOut1 … trainsOut128. */
  portCounters(port: PortHandle): Record<string, number>;
  /** Test seam: the next transmits on this port fail with these errnos, in order, before the kernel is asked (0 = let it through; -n = it gets the first n bytes of the datagram, train or packet, and so takes no more). */
  injectErrors(port: PortHandle, where: 'udp' | 'tun', errnos: number[]): void;

  /** Shared-memory rings between the shards of this process (one per shard), each with an eventfd. Created by the main thread, attached by id. */
  createHandover(shards: number, bytesPerRing: number): { handle: HandoverHandle; id: number };
  attachHandover(id: number): HandoverHandle;
  /** Copies entries with verdict elsewhere into the ring of their slot's shard (`shards` column: table lookup by the caller is not needed: pass lanes). Sets handedOver, or handoverFull. @returns entries handed over */
  handOver(handover: HandoverHandle, lanes: LanesHandle, batch: BatchHandle, kind: 'udp' | 'tun'): number;
  /** Appends what other shards handed to `shard` to the port's receive batch (slot already set). @returns entries appended */
  takeOver(handover: HandoverHandle, port: PortHandle, kind: 'udp' | 'tun', limit: number): number;

  // ---- native/kernel: what the keeper asks of the kernel -----------------------------------------------------------
  /** Creates or attaches to `name` ('' = kernel chooses). multiQueue is tried first when queues > 1; EINVAL on an existing single-queue device falls back to one queue. EBUSY when any of its queues is open already. */
  openTun(options: { name: string; queues: number; vnetHeader: boolean; persist?: boolean }): { name: string; descriptors: number[]; existed: boolean; mtu: number };
  /** TUNSETOFFLOAD: CSUM|TSO4|TSO6 and, where the kernel has it, USO4|USO6; off = 0. @returns the mask in force (0 = refused or off) */
  tunOffload(descriptor: number, on: boolean): number;
  tunMtu(name: string): number;
  /** portNumber 0: one that nobody has, with reusePort, too. */
  openUdp(options: {
    address: string; portNumber: number; reusePort: boolean; bufferBytes: number; // SO_SNDBUF/RCVBUF, the FORCE forms when allowed
    gro: boolean; packetInfo: boolean; pmtu: 'omit' | 'default' | 'probe'; mark?: number;
  }): { descriptor: number; portNumber: number; sendBuffer: number; receiveBuffer: number; gro: boolean };
  /** portNumber 0: as openUdp. */
  openTcpListener(options: { address: string; portNumber: number; reusePort: boolean; backlog: number }): { descriptor: number; portNumber: number };
  /** Sends so many datagrams (2 to 1,024) of one byte over loopback by one UDP_SEGMENT send. @returns errno, 0 = the kernel took it; EINVAL = more than it takes, or a kernel before 4.18 (ENOPROTOOPT) */
  tryTrain(segments: number): number;
  createMemfd(name: string, bytes: number): number;
  closeDescriptor(descriptor: number): void;
  /** Another descriptor of the same open file: for an API that closes what it is given. */
  duplicateDescriptor(descriptor: number): number;
  setCloseOnExec(descriptor: number, on: boolean): void;
  /** PR_SET_DUMPABLE 0, RLIMIT_CORE 0: for whoever holds secrets. */
  forbidDumps(): void;
  pinThread(cpu: number): void;
  /** CLOCK_MONOTONIC in microseconds, with fraction. The one clock of the datapath. */
  monotonicMicros(): number;
  /** READY=1 etc. to $NOTIFY_SOCKET; false when there is none. */
  notifySystemd(state: string): boolean;
  /**
   * Classic BPF on a SO_REUSEPORT group: socket = first byte of the Lightway session id mod shards when the id is neither zero nor ff…, else a hash of source address and
   * port. doors: the group has `shards` sockets more for EMPTY ids that are no first ClientHello, and then `shards` for all that names no session; same hash.
   */
  steerUdp(descriptor: number, shards: number, doors?: boolean): void;
  /** eBPF on a TUN device: queue = map[inner destination − poolBase] (u8 per address) when inside the pool, else flow hash. Throws EPERM where BPF is refused. The map is handed on as a descriptor. */
  steerTun(tunDescriptor: number, options: { poolBase: number; poolSize: number; queues: number }): { map: number };
  /**
   * eBPF on a TUN device: of each of its queues nobody, by the inner destination, may have more than four times what is free; what is beyond is dropped and counted (native/io/shares.h). For the queue's length when this is called
   * (txqueuelen). Throws EPERM where BPF is refused. The map is handed on as a descriptor.
   */
  shareTun(tunDescriptor: number, queues: number): { map: number };
  /** From now on the port counts what it has taken from that queue: before anything is received. */
  attachTunShares(port: PortHandle, map: number, queue: number, queues: number): void;
  attachSteering(map: number, poolSize: number): { handle: SteeringHandle; buffer: ArrayBuffer }; // u8 per address: shard
  /**
   * eBPF on sockets. At the sockets of the shards' sessions, in the order of the shards: lone Expresslane datagrams below the floor of the session whose id they bear are dropped and counted (native/steering/floors.h).
   * So are those of a session that has more in the socket than four times what is free there (native/io/shares.h). At the doors of their strangers: lone datagrams without the magic of Lightway.
   * What suspects send that nobody can judge by its number (native/steering/suspects.h, sorter.cc) comes to the third door of their shard, by a program that takes the place of steerUdp's.
   * `doors`: none, or those that steerUdp names and then one a shard for suspects. Throws EPERM where BPF is refused; some sockets may have their filter then.
   * The map is handed on as a descriptor. @param entries of each shard, a power of two from 16 to 2^20: one a session, found by bits of its id @returns reveals: whether record numbers of suspects are judged too, for which the kernel
   * wants CAP_PERFMON beside CAP_BPF
   */
  filterUdp(sessions: readonly number[], doors: readonly number[], entries: number): { map: number; reveals: boolean };
  /** From now on `open` and `passUplink` write floors of the lanes' sessions into their shard's part of the map, which is emptied first, and the index tells the kernel of its ids, in one of two bitmaps: @param half 0 or 1, another one than the engine before had. @returns dropped: what the programs at the shard's sockets have dropped since there is a map: replays and forgeries, garbage, what was beyond shares */
  attachFloors(lanes: LanesHandle, map: number, entries: number, half: number): { dropped: BigUint64Array };
  /** Before anything is received: what the filters of the lanes' shard drop is none of the port's socketDrops and strangerDrops from now on, nor a flood of strangers. Does nothing without floors. */
  countWithoutFilters(port: PortHandle, lanes: LanesHandle): void;
  /** After clearSlot: the filter knows no floor of the session that was there. Does nothing without floors. */
  forgetFloors(lanes: LanesHandle, slot: number): void;

  // ---- native/table: sessions ---------------------------------------------------------------------------------------
  /** Maps the keeper's memfds. exposeSecrets only for the reference nodes (`--aead noble`) and tests. */
  openTable(options: { public: number; secret: number; slots: number; exposeSecrets?: boolean }): { handle: TableHandle; public: ArrayBuffer; secret?: ArrayBuffer };
  /** Shared by all shards of the process: session id → slot, outside address → slot, inside address → slot. Lock-free reads, serialised writes. */
  createIndex(slots: number): { handle: IndexHandle; id: number };
  attachIndex(id: number): IndexHandle;
  /** @param key 8 bytes (id), 20 bytes (outside address, ADDRESS.key of batch.ts) or 4 bytes (inside address, big-endian) */
  indexSet(index: IndexHandle, kind: 'id' | 'outside' | 'inside', key: Uint8Array, slot: number): void;
  indexDelete(index: IndexHandle, kind: 'id' | 'outside' | 'inside', key: Uint8Array, slot: number): void;
  indexGet(index: IndexHandle, kind: 'id' | 'outside' | 'inside', key: Uint8Array): number; // -1 = unknown

  /** What the nodes of one shard share. `generation`: of this engine; slots with another one are refused with verdict superseded. `single`: >= 0 = the client's only slot: every datagram and packet is its. */
  createLanes(options: { table: TableHandle; index: IndexHandle; shard: number; shards: number; generation: number; aead: 'ipsec-mb' | 'openssl'; single?: number }): { handle: LanesHandle; counters: BigUint64Array /* per verdict */; limits: Uint32Array; arrivals: Uint32Array /* src/datapath/limits.ts */ };
  /** Zeroes both halves of a slot and forgets its cached key schedules. */
  clearSlot(lanes: LanesHandle, slot: number): void;
  /** Takes the slot for this engine: raises its generation, forgets cached schedules. After it the predecessor cannot seal, nor take the slot back: RangeError. */
  claimSlot(lanes: LanesHandle, slot: number): void;

  // DTLS epochs of a slot (3 and up); the secret handle is consumed
  slotInstall(lanes: LanesHandle, slot: number, direction: 'send' | 'receive', epoch: number, suite: number, secret: SecretHandle): void;
  /** Next secret by 'traffic upd'; installs epoch + 1 and (send) leaves sendEpoch to the caller. @returns the new epoch */
  slotUpdate(lanes: LanesHandle, slot: number, direction: 'send' | 'receive'): number;
  slotDrop(lanes: LanesHandle, slot: number, direction: 'send' | 'receive', epoch: number): void;
  /** One DTLS record (claims its number). */
  slotSeal(lanes: LanesHandle, slot: number, epoch: number, contentType: number, content: Uint8Array): { bytes: Uint8Array; sequence: number };
  slotOpen(lanes: LanesHandle, slot: number, record: Uint8Array): { epoch: number; sequence: number; contentType: number; content: Uint8Array } | 'replayed' | undefined;
  // Expresslane keys of a slot (protocol §6.4)
  laneStage(lanes: LanesHandle, slot: number): Uint8Array; // fresh 32 random bytes staged; copy for the frame: zero it after use
  laneStaged(lanes: LanesHandle, slot: number): Uint8Array;
  laneStageNone(lanes: LanesHandle, slot: number): void;
  lanePromote(lanes: LanesHandle, slot: number): void; // staged → send; new random IV salt
  laneInstallReceive(lanes: LanesHandle, slot: number, key: Uint8Array): void; // current → previous
  laneReceiveKeyIs(lanes: LanesHandle, slot: number, key: Uint8Array): boolean;
  laneSendValid(lanes: LanesHandle, slot: number): boolean;
  laneReceiveValid(lanes: LanesHandle, slot: number): boolean;

  // ---- native/nodes: the pipeline (rules in docs/contracts.md); each reads its input batch's header.count ---------------------------------------------
  /** lanes.open, first half: which session each train belongs to. Known outside address → its slot; else id → slot with Flag.floating; EMPTY id from a stranger → divert; else reject, or unknownId beyond limits.rejects. Slots of other shards → elsewhere. @returns trains still passing */
  locate(lanes: LanesHandle, trains: BatchHandle): number;
  /**
   * lanes.open: fills `packets` (same arena, cleared by the caller) with one entry per inner packet or diverted record, opened in place; stops when `packets` is full (header.consumed of
   * `trains` = trains consumed; call again). Expresslane: preview, open (current, then previous key), commit; DTLS: number decryption, window, open,
   * padding; application records that are exactly one Data frame pass as packets, all others divert with their content type; epoch 0 and 2 of a slot in linkUp, some ClientHellos of one that is online, and anything of a slot not linkUp/online divert raw (Kind.raw, whole datagram after the Lightway header).
   * mode other than 'off': what coalesce would join may be one entry already (docs/contracts.md, assembled entries).
   * Diverted trains (locate) divert raw too. Adds Flag.floating / newId to entries that authenticated. Updates windows, statistics, lastOutside. @returns entries diverted
   */
  open(lanes: LanesHandle, trains: BatchHandle, packets: BatchHandle, now: number, mode: 'inline' | 'tcp' | 'off' | 'udp'): number;
  /** guard.admit: passing entries: IPv4 shape and lengths, translation per slot, inner header/transport checksum verified → checksumValid (wrong → passes alone, unflagged). @returns passing */
  admit(lanes: LanesHandle, packets: BatchHandle, now: number): number;
  /** gro.coalesce: passing packets, per inner flow, into superpackets (cleared by the caller). Of the arena of `packets`: payloads stay where they are, as pieces (GsoType.piece); of another: they are copied. mode off: one packet, one entry; tcp: the TUN takes no UDP superpackets. Order within a flow is kept. header.consumed of `packets`. @returns superpackets */
  coalesce(lanes: LanesHandle, packets: BatchHandle, superpackets: BatchHandle, mode: 'inline' | 'tcp' | 'off' | 'udp'): number;
  /** routes.lookup: inner destination → slot (client: the single one), translation per slot, MSS clamp. noRoute, notOnline, elsewhere … @returns passing */
  lookup(lanes: LanesHandle, superpackets: BatchHandle): number;
  /**
   * lanes.seal: segments (TCPv4, TCPv6, UDP), completes checksums, claims numbers, seals straight into `trains` (appended behind its entries): one entry per UDP_SEGMENT send (all datagrams one size but the last; at most `maxSegments` and 65,000 bytes; small packets of one
   * slot and size share a train). SlotFlag.stream: kind 1 entries of plain Data frames. Stops when trains or blocks run out: header.consumed of `superpackets`; transmit, then call again.
   * @returns superpackets consumed so far
   */
  seal(lanes: LanesHandle, superpackets: BatchHandle, trains: BatchHandle, maxSegments: number, now: number): number;

  // ---- native/pacer: between lookup and seal (docs/contracts.md) -------------------------------------------------------------
  /** @param released whose arena (blocks >= 65,600) holds what waits @param trainSegments 1 to 128 @returns state: PACER_STATE of src/datapath/pacer.ts */
  createPacer(lanes: LanesHandle, released: BatchHandle, trainSegments: number): { handle: PacerHandle; state: ArrayBuffer };
  /** pacer.release: judges the passing entries of `superpackets` from header.consumed on when they are `fresh`, then appends what may leave to the pacer's batch. @param budget bytes, 2^32 − 1 = no limit @returns entries of that batch */
  pacerRelease(pacer: PacerHandle, superpackets: BatchHandle, fresh: boolean, now: number, budget: number): number;
  /** What waits in a slot is dropped and counted by segments: notOnline, as it has been cleared, or superseded, as its session goes on elsewhere. @returns how many */
  pacerForget(pacer: PacerHandle, slot: number, superseded: boolean): number;

  // ---- native/pass: a vector through a whole pipeline (docs/contracts.md) ----------------------------------------------------------
  /** Batches as the nodes want them; trainsIn and superpacketsIn are those the port receives into. @returns state: PASS_STATE of src/datapath/pass.ts; stages: the memory of StageCounters */
  createPass(options: {
    port: PortHandle; // with a socket and a device
    lanes: LanesHandle;
    trainsIn: BatchHandle;
    packets: BatchHandle;
    superpacketsOut: BatchHandle;
    superpacketsIn: BatchHandle;
    trainsOut: BatchHandle;
    gro: 'inline' | 'tcp' | 'off' | 'udp'; // until another one stands in the state
    maxSegments: number;
    loneTurns: number; // so many after a sleep of more than longSleepUs are taken without JavaScript
    longSleepUs: number;
    soonUs: number; // of goOn: JavaScript is wanted after so long where every look found more than was taken, else after lateUs
    lateUs: number;
    aloneUs: number; // or after that, where no second session was seen for togetherUs
    togetherUs: number;
    full: number; // a vector of so many superpackets, or so many bytes, is not all that the device has
    fullBytes: number;
  }): { handle: PassHandle; state: ArrayBuffer; stages: ArrayBuffer };
  /** udpReceive, locate, open, admit, coalesce, tunTransmit until the vector is through. The uplink's batches must be empty, and are again when it returns PASS.done. @returns PASS */
  passUplink(pass: PassHandle, now: number, limit: number): number;
  /** tunReceive, lookup, seal, udpTransmit. The downlink's batches must be empty; superpacketsIn is not afterwards when the socket was full. @returns PASS */
  passDownlink(pass: PassHandle, now: number, limit: number): number;
  /**
   * Turns of wait(), passUplink and passDownlink, until nothing is there, or something that is neither the socket's nor the device's, or a pass has stopped, or `until`.
   * Sets `ready`, `drained`, `began` and, where a pass has stopped, `woken` and `next` of the state.
   * @param since what the first turn's time is counted from @param waitUs of the first wait() @param idleUs of one more, after one that found nothing; 0: no other
   * @returns how many turns are over
   */
  passTurns(pass: PassHandle, since: number, waitUs: number, until: number, idleUs: number): number;

  // ---- native/keepalive: Pings, answered where they lie (src/session/session.ts is the reference) --------------------------------
  /**
   * Pongs to the diverted records of `packets` that are one Ping and nothing else, of online sessions of a server, are sealed and appended to `answers`; the entry gets verdict answered, its bytes become zeros, and header.wanted
   * one less. Left as they are: entries with `floating` or `newId`, what comes behind an entry of the same session that is left, and whatever finds no key, number or room. @returns entries answered
   */
  answerPings(lanes: LanesHandle, packets: BatchHandle, answers: BatchHandle): number;

  // ---- native/hello: first ClientHellos, answered where they lie (src/dtls/listener.ts is the reference) ------------------------
  /** @param seed of all cookies, 16 to 64 bytes, copied to memory that is zeroed when the listener goes  @param options numbers of 16 bits, best first, 1 to 32 each; `shareLengths`: of a client's share, by group */
  createListener(lanes: LanesHandle, seed: SecretHandle, options: { suites: readonly number[]; groups: readonly number[]; shareLengths: readonly number[]; schemes: readonly number[]; amplification?: number | undefined }): ListenerHandle;
  /**
   * Judges the raw diverted entries of `packets` without a slot whose trains are `first` to `end` − 1, each preceded by its Lightway header: retries and alerts are appended to `answers` with the peer's address, and the entry
   * gets verdict answered. Left as they are: hellos with a cookie, datagrams from an address the index knows, and whatever finds no room in `answers`. @returns entries judged
   */
  answerHellos(listener: ListenerHandle, packets: BatchHandle, trains: BatchHandle, answers: BatchHandle, now: number, first: number, end: number): number;
  /** What became of them: `retry`, and the HelloDrops of src/dtls/options.ts. */
  listenerCounters(listener: ListenerHandle): Record<string, number>;

  // ---- native/secret: key schedule on handles (src/crypto/vault.ts) --------------------------------------------------------
  digest(hash: 'sha256' | 'sha384', chunks: readonly Uint8Array[]): Uint8Array;
  secretImport(hash: 'sha256' | 'sha384', bytes: Uint8Array): SecretHandle;
  secretExtract(hash: 'sha256' | 'sha384', salt: SecretHandle | undefined, ikm: SecretHandle | undefined): SecretHandle;
  secretExpand(secret: SecretHandle, label: string, context: Uint8Array): SecretHandle;
  secretFinished(secret: SecretHandle, transcriptHash: Uint8Array): Uint8Array;
  secretDestroy(secret: SecretHandle): void;
  /** crypt(3) of libxcrypt, on any thread, for as long as the setting says. `password`: up to 511 bytes, none of them zero. @throws EINVAL for a setting libxcrypt cannot follow, ENOMEM */
  hashPassword(password: Uint8Array, setting: string): string;
  /** Whether libxcrypt here was built with the method of a setting, or of a hash, which is one too. */
  knowsPasswordHash(setting: string): boolean;
  recordKeys(suite: number, secret: SecretHandle): RecordKeysHandle;
  recordKeysDestroy(keys: RecordKeysHandle): void;
  recordSeal(keys: RecordKeysHandle, epoch: number, sequence: number, contentType: number, content: Uint8Array): Uint8Array;
  recordOpen(keys: RecordKeysHandle, record: Uint8Array, expected: number): { sequence: number; contentType: number; content: Uint8Array } | undefined;
  constantTimeEqual(a: Uint8Array, b: Uint8Array): boolean;
  hmacSha256(key: SecretHandle, data: Uint8Array): Uint8Array;

  // ---- native/aead: plain AEAD through the backends of the nodes, for vectors and benchmarks ---------------------------------------
  /** Whole-buffer seal/open at any alignment. open returns undefined when not authentic. */
  aeadSeal(backend: 'ipsec-mb' | 'openssl', suite: number, key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Uint8Array;
  aeadOpen(backend: 'ipsec-mb' | 'openssl', suite: number, key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Uint8Array | undefined;
  /**
   * What lanes.seal and lanes.open call: 0 to 64 packets under one key, in place, each with its parts anywhere in `bytes`. Parts may overlap; what then comes out means nothing.
   * What is not authentic is left as bytes without meaning, what is to be skipped as it is. @returns of each packet whether it is authentic
   */
  aeadSealGroup(backend: 'ipsec-mb' | 'openssl', suite: number, key: Uint8Array, bytes: Uint8Array, items: readonly AeadItem[]): void;
  aeadOpenGroup(backend: 'ipsec-mb' | 'openssl', suite: number, key: Uint8Array, bytes: Uint8Array, items: readonly AeadItem[]): boolean[];
  /** What a pass runs between the socket and the device, in one call: locate, then open, admit and coalesce until all trains are through. The superpackets of the last part are left. For bench/nodes.ts. */
  uplinkNodes(lanes: LanesHandle, trains: BatchHandle, packets: BatchHandle, superpackets: BatchHandle, mode: 'inline' | 'tcp' | 'off' | 'udp', now: number): void;
  /** Nanoseconds for a pass over `packets` packets of what no implementation can leave out: AES-256-GCM in place and (`copies`) one copy and one checksum. What bench/nodes.ts compares with. */
  bareCost(backend: 'ipsec-mb' | 'openssl', open: boolean, packetBytes: number, packets: number, copies: boolean): number;

  // ---- native/load: the load lab (docs/load.md) ------------------------------------------------------------------------------
  /** The outside of many clients on one thread: one connected UDP socket a slot (opened later), one epoll. @param bufferBytes of each socket, 0 = the kernel's own */
  createFleet(options: { slots: number; address: string; portNumber: number; bufferBytes: number }): FleetHandle;
  /** @param from local address, of the server's family; undefined: the kernel chooses. @returns the local port number. @throws the kernel's refusal (EMFILE, EADDRNOTAVAIL ...) */
  openOutside(fleet: FleetHandle, slot: number, from?: string | undefined): number;
  closeOutside(fleet: FleetHandle, slot: number): void;
  closeFleet(fleet: FleetHandle): void;
  /** Waits until a socket has something, at most 1 s. @returns how many have */
  fleetWait(fleet: FleetHandle, waitUs: number): number;
  /** Appends up to `limit` trains, each with its slot and the server's address. @returns count */
  fleetReceive(fleet: FleetHandle, trains: BatchHandle, limit: number): number;
  /** Sends passing entries of kind 0 by their slot's socket, from header.consumed on, and stops where a socket is full. A refused train goes datagram by datagram; what cannot be sent: sendFailed, counted. @returns entries left */
  fleetTransmit(fleet: FleetHandle, trains: BatchHandle): number;
  fleetCounters(fleet: FleetHandle): Record<string, number>;
  /**
   * Traffic of `clients` clients, numbered from `first`. form inside: inner IPv4/UDP packets to `destination`, sent as superpackets (slot = client), received as packets; outside: datagrams to wherever
   * a client was last heard from. Sizes are of inner packets, 64 to 9,000. `buffer` holds what is counted (src/load/traffic.ts).
   */
  createTraffic(options: {
    clients: number; first: number; run: number; form: 'inside' | 'outside'; destination: number; portNumber: number;
    flows: number; burst: number; window: boolean; echoEvery: number; sizes: readonly number[];
  }): { handle: TrafficHandle; buffer: ArrayBuffer };
  /** All in Micros. `spacing` between two trains, 0 = as fast as possible. Packets due in [measureFrom, measureTo) are measured, nothing is due from `stop` on. */
  scheduleTraffic(traffic: TrafficHandle, schedule: { start: number; spacing: number; measureFrom: number; measureTo: number; stop: number }): void;
  /** Appends what is due. @returns packets */
  sendTraffic(traffic: TrafficHandle, batch: BatchHandle, now: number): number;
  /** Appends a hello of every client that is online and not known yet. @returns packets */
  greetTraffic(traffic: TrafficHandle, batch: BatchHandle, now: number): number;
  /** Counts passing entries; acknowledgements and echoes are appended to `replies`. @returns packets that were of this run */
  receiveTraffic(traffic: TrafficHandle, batch: BatchHandle, replies: BatchHandle | undefined, now: number): number;
}
