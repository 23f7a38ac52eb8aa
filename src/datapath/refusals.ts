/**
 * What the kernel has refused to take as one, and when that is tried again: trains of a session (UDP_SEGMENT), and superpackets of a kind for the TUN
 * device. Nothing is lost by a refusal, as the port replays what was refused; but each costs a system call that fails (docs/decisions/0008).
 */
import { getSystemErrorName } from 'node:util';
import { type Micros, SECOND } from '../wire/time.ts';
import { formatAddress } from './address.ts';
import { ADDRESS } from './batch.ts';
import type { ControlCounters } from './control-counters.ts';
import { Deadlines } from './deadlines.ts';
import type { ReportSender } from './host.ts';
import { SlotFlag } from './layout.ts';
import type { CoalesceMode } from './nodes.ts';
import type { SessionTable } from './table.ts';

const RETRY: Micros = 60 * SECOND;
/** Among slots: that kind of superpacket. */
const KINDS = { TCP: -1, UDP: -2 } as const;

export class Refusals {
  readonly #table: SessionTable;
  readonly #counters: ControlCounters;
  readonly #report: ReportSender;
  /** One time for each slot and kind: a later refusal puts it off. */
  readonly #retries = new Deadlines();
  readonly #refused = new Set<number>();
  /** What the log knows: errnos of trains, kinds of superpackets. */
  readonly #said = new Set<number>();

  constructor(table: SessionTable, counters: ControlCounters, report: ReportSender) {
    this.#table = table;
    this.#counters = counters;
    this.#report = report;
  }

  /** Whether anything is refused: asked in every turn. */
  get any(): boolean {
    return this.#retries.size > 0;
  }

  /** The session sends one datagram a call for a minute. */
  train(slot: number, errno: number, now: Micros): void {
    this.#counters.gsoRefused++;
    const { flags, remote } = this.#table.fields;
    const peer = formatAddress(remote.view(slot), ADDRESS.remote);
    const reason = getSystemErrorName(-errno);
    this.#say(errno, `UDP_SEGMENT to ${peer} refused (${reason}): datagrams go one by one for a minute (said once)`);
    flags.set(slot, flags.get(slot) | SlotFlag.noGso);
    this.#retries.set(slot, now + RETRY);
  }

  /** Packets of the kind are not joined for a minute. */
  superpackets(kind: keyof typeof KINDS, errno: number, now: Micros): void {
    const reason = getSystemErrorName(-errno);
    const text = `the TUN device refused a ${kind} superpacket (${reason}): ${kind} packets are not joined for a minute (said once)`;
    this.#say(KINDS[kind], text);
    this.#refused.add(KINDS[kind]);
    this.#retries.set(KINDS[kind], now + RETRY);
  }

  /** @param wanted what may be joined where nothing is refused */
  joined(wanted: CoalesceMode): CoalesceMode {
    const tcp = (wanted === 'inline' || wanted === 'tcp') && !this.#refused.has(KINDS.TCP);
    const udp = (wanted === 'inline' || wanted === 'udp') && !this.#refused.has(KINDS.UDP);
    if (tcp) return udp ? 'inline' : 'tcp';
    return udp ? 'udp' : 'off';
  }

  /** The slot has been cleared. */
  forget(slot: number): void {
    this.#retries.set(slot, undefined);
  }

  nextDeadline(): Micros | undefined {
    return this.#retries.next();
  }

  /** What is due is allowed again. */
  advance(now: Micros): void {
    const { flags } = this.#table.fields;
    for (let each = this.#retries.due(now); each !== undefined; each = this.#retries.due(now)) {
      if (each < 0) this.#refused.delete(each);
      else flags.set(each, flags.get(each) & ~SlotFlag.noGso);
    }
  }

  #say(what: number, text: string): void {
    if (this.#said.has(what)) return;
    this.#said.add(what);
    this.#report({ type: 'note', text });
  }
}
