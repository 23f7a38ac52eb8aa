/**
 * Which backends carry most on this machine. From what `auto` would take, one thing at a time is changed; contenders take turns, and each is
 * compared with `auto` within its own round, since machines drift. The best of each thing together is the answer: what each gains does not
 * depend on the others but for little.
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
};

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
    const base = { aead: chooseAead(loadAddon(), 'auto'), gro: 'inline', tunOffload: 'on' } as const;
    const uring = await bridge.carry({ io: 'io_uring', ...base }, WARM_MS);
    const auto: Combination = { io: 'why' in uring ? 'epoll' : 'io_uring', ...base };
    const absent: Absent[] = 'why' in uring ? [{ ...contender('io', 'io_uring', auto), why: uring.why }] : [];
    const all = contenders(auto).filter(({ flag }) => !absent.some((other) => other.flag === flag));
    const found = all.map(() => ({ gigabits: [] as number[], cpuPerGb: [] as number[] }));
    const why = new Map<string, string>();
    for (let round = 0; round < rounds; round++)
      for (const [i, { combination, flag }] of all.entries()) {
        show(round * all.length + i, rounds * all.length);
        const carried = await bridge.carry(combination, forMs);
        if ('why' in carried) why.set(flag, carried.why);
        else {
          found[i].gigabits.push((carried.bytes * 8) / Math.max(carried.seconds, 1e-3) / 1e9);
          found[i].cpuPerGb.push(carried.cpuSeconds / Math.max(carried.bytes / 1e9, 1e-6));
        }
      }
    for (const each of all) if (why.has(each.flag)) absent.push({ ...each, why: why.get(each.flag) ?? '' });
    if (why.has('')) throw nothingCarried(why.get('') ?? '');
    const measured = all.flatMap((each, i) => (why.has(each.flag) ? [] : [assess(each, found[i], found[0].gigabits)]));
    const chosen = choose(auto, measured);
    return { measured, absent, ...chosen, passedOver: passedOver(chosen.best, measured) };
  } finally {
    await bridge.close();
  }
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

/** Exported for its test. */
export function choose(
  auto: Combination,
  measured: readonly Measured[],
): Pick<Calibration, 'best' | 'flags' | 'isAuto'> {
  const keys = Object.keys(flagOf) as (keyof Combination)[];
  let best: Combination = auto;
  for (const key of keys) {
    const others = measured.filter(
      ({ combination, ratio, wins }) => combination[key] !== auto[key] && ratio.median > WORTH && wins >= SURE,
    );
    const [first] = others.sort((a, b) => b.ratio.median - a.ratio.median);
    if (first) best = { ...best, [key]: first.combination[key] };
  }
  const flags = keys.flatMap((key) => [flagOf[key], best[key]]);
  return { best, flags, isAuto: keys.every((key) => best[key] === auto[key]) };
}

/** Why rows with a better median than that of `auto` are not part of the answer. Exported for its test. */
export function passedOver(best: Combination, measured: readonly Measured[]): Calibration['passedOver'] {
  const [auto] = measured; // measured first, and there or nothing is
  return measured.flatMap(({ combination, flag, gigabits, ratio, wins }) => {
    const key = (Object.keys(flagOf) as (keyof Combination)[]).find(
      (each) => combination[each] !== auto.combination[each],
    );
    if (!key || combination[key] === best[key]) return [];
    if (ratio.median <= 1 && gigabits.median <= auto.gigabits.median) return [];
    const percent = (share: number) => Math.round(share * 100);
    if (wins < SURE) {
      const of = `in ${percent(wins)} % of the rounds only: ${percent(SURE)} % are asked for`;
      return [{ flag, why: `carried more than auto ${of}` }];
    }
    if (ratio.median <= WORTH)
      return [{ flag, why: `${ratio.median.toFixed(3)} of auto is not the ${WORTH} that a flag is worth` }];
    return [{ flag, why: `${flagOf[key]} ${best[key]} carried more` }];
  });
}
