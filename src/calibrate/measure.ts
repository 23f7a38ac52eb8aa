/**
 * Which backends carry most on this machine. From what `auto` would take, one thing at a time is changed; contenders take turns, and each is
 * compared with `auto` within its own round, since machines drift. The best of each thing together is the answer, if it is better than `auto`
 * when it is measured as one.
 */
import { chooseAead } from '../datapath/backends.ts';
import { loadAddon } from '../native/index.ts';
import { Bridge, type Combination, nothingCarried } from './bridge.ts';

/** Better than `auto` by less is not worth a flag: rounds of one combination differ by as much. */
const WORTH = 1.03;
/** In so many of its rounds it must have been better: on a busy machine nothing is, and `auto` stays. */
const SURE = 0.8;
/** The compilers of both shards have seen enough then. */
const WARM_MS = 400;

export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

export interface Measured {
  readonly combination: Combination;
  /** What sets it apart from `auto`, as a flag; empty: `auto` itself. */
  readonly flag: string;
  readonly gigabits: Spread;
  /** Of `auto` in the same round. */
  readonly ratio: Spread;
  /** Share of the rounds in which it carried more than `auto`. */
  readonly wins: number;
  /** CPU seconds of both shards a GB. */
  readonly cpuPerGb: Spread;
}

export interface Absent {
  readonly combination: Combination;
  readonly flag: string;
  readonly why: string;
}

export interface Calibration {
  readonly measured: readonly Measured[];
  readonly absent: readonly Absent[];
  readonly best: Combination;
  /** For `ringway server` and `ringway client`; those that differ from `auto` come from here. */
  readonly flags: readonly string[];
  readonly isAuto: boolean;
  /** What has a better figure than `auto` and is not named all the same, and why. */
  readonly passedOver: readonly { readonly flag: string; readonly why: string }[];
}

interface Contender {
  readonly combination: Combination;
  readonly flag: string;
}

const flagOf: Readonly<Record<keyof Combination, string>> = {
  io: '--io',
  aead: '--aead',
  gro: '--gro',
  tunOffload: '--tun-offload',
  sqpoll: '--sqpoll',
  zeroCopy: '--zero-copy',
};
const KEYS = Object.keys(flagOf) as (keyof Combination)[];

/** `auto`, and every combination that differs from it in one thing. */
function contenders(auto: Combination): Contender[] {
  const change = <K extends keyof Combination>(key: K, value: Combination[K]): Contender[] =>
    auto[key] === value ? [] : [{ combination: { ...auto, [key]: value }, flag: `${flagOf[key]} ${value}` }];
  const aeads = [...loadAddon().about().aead, 'noble'] as const;
  return [
    { combination: auto, flag: '' },
    ...change('io', 'io_uring'),
    ...change('io', 'epoll'),
    ...aeads.flatMap((aead) => change('aead', aead)),
    ...change('gro', 'off'),
    ...change('tunOffload', 'off'),
    ...(auto.io === 'io_uring' ? [...change('sqpoll', 'on'), ...change('zeroCopy', 'on')] : []),
  ];
}

function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, low: sorted[0], high: sorted[sorted.length - 1] };
}

export interface Plan {
  readonly rounds: number;
  readonly forMs: number;
  readonly show: (done: number, of: number) => void;
}

/** Runs in namespaces of its own. @throws RingwayError LAB_PROGRAM, CALIBRATE_NOTHING */
export async function calibrate({ rounds, forMs, show }: Plan): Promise<Calibration> {
  const bridge = await Bridge.open();
  try {
    const aead = chooseAead(loadAddon(), 'auto');
    const base = { aead, gro: 'inline', tunOffload: 'on', sqpoll: 'off', zeroCopy: 'off' } as const;
    const uring = await bridge.carry({ io: 'io_uring', ...base }, WARM_MS);
    const auto: Combination = { io: 'why' in uring ? 'epoll' : 'io_uring', ...base };
    const refused: Absent[] = 'why' in uring ? [{ ...contender('io', 'io_uring', auto), why: uring.why }] : [];
    const all = contenders(auto).filter(({ flag }) => !refused.some((other) => other.flag === flag));
    const total = rounds * all.length;
    const { measured, absent } = await takeTurns(bridge, all, { rounds, forMs, show: (done) => show(done, total) });
    const together = choose(auto, measured);
    const changed = KEYS.filter((key) => together.best[key] !== auto[key]);
    const parts = { measured, absent: [...refused, ...absent] };
    if (changed.length < 2) {
      const single = confirm(auto, measured, undefined);
      return { ...parts, ...single, passedOver: passedOver(single.best, measured) };
    }

    const flag = changed.map((key) => `${flagOf[key]} ${together.best[key]}`).join(' ');
    const two = [all[0], { combination: together.best, flag }];
    const more = { rounds, forMs, show: (done: number) => show(total + done, total + rounds * two.length) };
    const checked = await takeTurns(bridge, two, more);
    const chosen = confirm(auto, measured, checked.measured[1]);
    parts.absent.push(...checked.absent);
    parts.measured.push(...checked.measured.slice(1));
    return { ...parts, ...chosen, passedOver: passedOver(chosen.best, parts.measured) };
  } finally {
    await bridge.close();
  }
}

/** The first is `auto`. @throws RingwayError CALIBRATE_NOTHING where that carries nothing */
async function takeTurns(
  bridge: Bridge,
  all: readonly Contender[],
  { rounds, forMs, show }: Omit<Plan, 'show'> & { readonly show: (done: number) => void },
): Promise<{ measured: Measured[]; absent: Absent[] }> {
  const found = all.map(() => ({ gigabits: [] as number[], cpuPerGb: [] as number[] }));
  const why = new Map<string, string>();
  for (let round = 0; round < rounds; round++)
    for (const [i, { combination, flag }] of all.entries()) {
      show(round * all.length + i);
      const carried = await bridge.carry(combination, forMs);
      if ('why' in carried) why.set(flag, carried.why);
      else {
        found[i].gigabits.push((carried.bytes * 8) / Math.max(carried.seconds, 1e-3) / 1e9);
        found[i].cpuPerGb.push(carried.cpuSeconds / Math.max(carried.bytes / 1e9, 1e-6));
      }
    }
  if (why.has('')) throw nothingCarried(why.get('') ?? '');
  const absent = all.flatMap((each) => (why.has(each.flag) ? [{ ...each, why: why.get(each.flag) ?? '' }] : []));
  const measured = all.flatMap((each, i) => (why.has(each.flag) ? [] : [assess(each, found[i], found[0].gigabits)]));
  return { measured, absent };
}

function contender(key: 'io', value: 'io_uring', auto: Combination): Contender {
  return { combination: { ...auto, [key]: value }, flag: `${flagOf[key]} ${value}` };
}

function assess(
  { combination, flag }: Contender,
  { gigabits, cpuPerGb }: { gigabits: number[]; cpuPerGb: number[] },
  auto: readonly number[],
): Measured {
  const ratios = gigabits.map((each, round) => each / auto[round]);
  const wins = ratios.filter((each) => each > 1).length / ratios.length;
  return { combination, flag, gigabits: spread(gigabits), ratio: spread(ratios), wins, cpuPerGb: spread(cpuPerGb) };
}

const isBetter = ({ ratio, wins }: Measured) => ratio.median > WORTH && wins >= SURE;

type Choice = Pick<Calibration, 'best' | 'flags' | 'isAuto'>;

function choice(auto: Combination, best: Combination): Choice {
  // these two do nothing but for io_uring, and are off unless asked for
  const named = KEYS.filter((key) => (key !== 'sqpoll' && key !== 'zeroCopy') || best[key] === 'on');
  return {
    best,
    flags: named.flatMap((key) => [flagOf[key], best[key]]),
    isAuto: KEYS.every((key) => best[key] === auto[key]),
  };
}

/** The best of each thing together. Exported for its test. */
export function choose(auto: Combination, measured: readonly Measured[]): Choice {
  let best: Combination = auto;
  for (const key of KEYS) {
    const others = measured.filter((each) => each.combination[key] !== auto[key] && isBetter(each));
    const [first] = others.sort((a, b) => b.ratio.median - a.ratio.median);
    if (first) best = { ...best, [key]: first.combination[key] };
  }
  if (best.io === 'epoll') best = { ...best, sqpoll: 'off', zeroCopy: 'off' };
  return choice(auto, best);
}

/**
 * What is best once all together has been measured as one: that, or the best of a single thing where it is better, or `auto`.
 * Exported for its test. @param together undefined where it could not be had
 */
export function confirm(auto: Combination, measured: readonly Measured[], together: Measured | undefined): Choice {
  const singles = measured.filter((each) => KEYS.some((key) => each.combination[key] !== auto[key]) && isBetter(each));
  const all = together && isBetter(together) ? [together, ...singles] : singles;
  const [best] = all.sort((a, b) => b.ratio.median - a.ratio.median);
  return choice(auto, best?.combination ?? auto);
}

/** Why rows with a better median than that of `auto` are not part of the answer. Exported for its test. */
export function passedOver(best: Combination, measured: readonly Measured[]): Calibration['passedOver'] {
  const [auto] = measured; // measured first, and there or nothing is
  return measured.flatMap(({ combination, flag, gigabits, ratio, wins }) => {
    const changed = KEYS.filter((each) => combination[each] !== auto.combination[each]);
    if (changed.every((key) => combination[key] === best[key])) return [];
    if (ratio.median <= 1 && gigabits.median <= auto.gigabits.median) return [];
    const percent = (share: number) => Math.round(share * 100);
    if (wins < SURE) {
      const of = `in ${percent(wins)} % of the rounds only: ${percent(SURE)} % are asked for`;
      return [{ flag, why: `carried more than auto ${of}` }];
    }
    if (ratio.median <= WORTH)
      return [{ flag, why: `${ratio.median.toFixed(3)} of auto is not the ${WORTH} that a flag is worth` }];
    const others = changed.length === 1 && best[changed[0]] !== auto.combination[changed[0]] ? changed : KEYS;
    const named = others.filter((key) => best[key] !== auto.combination[key]);
    return [{ flag, why: `${named.map((key) => `${flagOf[key]} ${best[key]}`).join(' ')} carried more` }];
  });
}
