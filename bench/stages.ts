/** What it costs to count a stage's vector, and to read the clock: both must be nothing against a turn of tens of microseconds. */
import { VERDICTS } from '../src/datapath/batch.ts';
import { STAGES } from '../src/datapath/pipeline.ts';
import { StageCounters, TIMED_EVERY, UNTIMED } from '../src/datapath/stages.ts';
import { loadAddon } from '../src/native/index.ts';
import { interleave } from './rounds.ts';

const ENTRIES = 32;

export async function bench(quick: boolean): Promise<void> {
  const addon = loadAddon();
  const turns = quick ? 20_000 : 200_000;
  const timed = (turn: (i: number) => void) => () => {
    const began = addon.monotonicMicros();
    for (let i = 0; i < turns; i++) turn(i);
    return ((addon.monotonicMicros() - began) * 1000) / turns;
  };
  const stages = new StageCounters(STAGES, new BigUint64Array(VERDICTS.length));
  let last = 0;
  const results = await interleave(
    [
      {
        name: `counting a turn through all ${STAGES.length} stages`,
        run: timed(() => {
          stages.turn();
          for (let stage = 0; stage < STAGES.length; stage++) stages.count(stage, ENTRIES, UNTIMED);
        }),
      },
      {
        name: `reading the clock for it in one turn of ${TIMED_EVERY}`,
        run: timed((i) => {
          if (i % TIMED_EVERY === 0)
            for (let read = 0; read < 2 * STAGES.length; read++) last = addon.monotonicMicros();
        }),
      },
    ],
    quick ? 1 : 7,
  );
  console.log(`stages: nanoseconds a turn (the clock stood at ${Math.round(last)} µs)`);
  for (const { name, figure } of results)
    console.log(`  ${name}: ${figure.median.toFixed(0)} ns [${figure.low.toFixed(0)}-${figure.high.toFixed(0)}]`);
}
