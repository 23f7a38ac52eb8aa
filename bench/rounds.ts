/** Rounds that take turns: machines drift, so contenders are compared within one round and never across runs. */

export interface Contender {
  readonly name: string;
  /** One measurement; a higher figure is better unless the caller says otherwise. */
  run(): number | Promise<number>;
}

export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, low: sorted[0], high: sorted[sorted.length - 1] };
}

export interface Result {
  readonly name: string;
  readonly figure: Spread;
  /** Against the first contender, round by round. */
  readonly ratios: readonly number[];
  readonly ratio: Spread;
}

/** A round that is not counted comes first. */
export async function interleave(contenders: readonly Contender[], rounds: number): Promise<Result[]> {
  const figures = contenders.map((): number[] => []);
  for (let round = -1; round < rounds; round++) {
    for (const [i, contender] of contenders.entries()) {
      const figure = await contender.run();
      if (round >= 0) figures[i].push(figure);
    }
  }
  return contenders.map(({ name }, i) => {
    const ratios = figures[i].map((figure, round) => figure / figures[0][round]);
    return { name, figure: spread(figures[i]), ratios, ratio: spread(ratios) };
  });
}

const short = (value: number) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));

export function show(title: string, unit: string, results: readonly Result[], rounds: number): void {
  console.log(`\n${title}  (median of ${rounds} rounds, low to high; ${unit}; ratio to ${results[0].name})`);
  const width = Math.max(...results.map(({ name }) => name.length));
  for (const { name, figure, ratio } of results)
    console.log(
      `  ${name.padEnd(width)}  x${ratio.median.toFixed(2)} [${ratio.low.toFixed(2)}-${ratio.high.toFixed(2)}]` +
        `  ${short(figure.median)} [${short(figure.low)}-${short(figure.high)}]`,
    );
}
