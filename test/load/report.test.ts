/** Reports, looked at by a browser. RINGWAY_SCREENSHOTS names a folder to keep what it saw. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { renderRun } from '../../src/load/report/run.ts';
import { renderSweep } from '../../src/load/report/sweep.ts';
import { curvesOf, type Point, seeded } from '../../src/load/sweep.ts';
import { judge, parseThreshold } from '../../src/load/thresholds.ts';
import { createFolder, type Folder } from '../config/folder.ts';
import { Browser, findChromium } from './browser.ts';
import { direction, result } from './results.ts';

const verdicts = ['loss>0.1%', 'p99>20ms'].map((text) => judge(parseThreshold(text), result()));
const older = result({ title: 'The run before', uplink: direction({ goodputBits: 2.1e9 }, 3) }, 5);

function sweepPoints(): Point[] {
  const random = seeded(3);
  return [1, 10, 50, 100, 200, 500, 800, 1000].flatMap((clients) =>
    (['below', 'above'] as const).flatMap((load) =>
      (['natural', 'fixed'] as const).map((trains) => {
        const capacity = trains === 'fixed' ? 2.4e9 : clients > 500 ? 0.8e9 : 1.9e9;
        const offeredBits = load === 'below' ? 1.9e9 : 3.6e9;
        const goodputBits = Math.min(offeredBits, capacity * (0.97 + random() * 0.06));
        const p99 = 200 + clients * (load === 'above' ? 20 : 1);
        const shared = {
          serverPerGb: trains === 'fixed' ? 2.1 : 2 + clients / 200,
          loss: 1 - goodputBits / offeredBits,
        };
        return {
          clients,
          load,
          trains,
          offeredBits,
          goodputBits,
          p99,
          ...shared,
          trainLength: trains === 'fixed' ? 16 : 3,
          fairness: 0.99,
          online: clients,
          valid: true,
          saturated: load === 'above' ? 'server CPU' : null,
        };
      }),
    ),
  );
}

const sweep = renderSweep({
  title: 'Scaling curve',
  started: '2026-11-22 02:30:00Z',
  subject: 'Ringway 0.1.0',
  command: 'ringway load sweep --clients 1,10,50,100,200,500,800,1000',
  release: '0.1.0',
  curves: curvesOf(sweepPoints()),
  configuration: { repeats: '3' },
  machine: { CPU: 'AMD EPYC 9B45, 2 cores' },
});

const PAGES: Readonly<Record<string, string>> = {
  run: renderRun({ result: result(), verdicts, older: undefined }),
  compared: renderRun({ result: result({ downlink: direction({}, 9) }), verdicts, older }),
  sweep,
};

describe('a report', () => {
  it.each(Object.entries(PAGES))('%s is one file that asks for nothing else', (_name, html) => {
    expect(html).toContain("default-src 'none'");
    expect(html.replace(/<script[\s\S]*?<\/script>/g, '')).not.toMatch(/\b(?:src|href)=/);
  });

  it('lets no text of a run become markup', () => {
    const html = renderRun({
      result: result({ title: '</script><img src=x onerror=alert(1)>' }),
      verdicts: [],
      older: undefined,
    });
    expect(html).not.toContain('<img');
    const charts = /id="charts">([\s\S]*?)<\/script>/.exec(html)?.[1] ?? '';
    expect(JSON.parse(charts)).toHaveLength(6);
  });

  it('shows both the new and the old value where two runs are compared', () => {
    expect(PAGES.compared).toContain('The run before');
    expect(PAGES.compared).toContain('was 2.10 Gbit/s');
    expect(PAGES.run).not.toContain('class="was"');
  });

  it('accounts for every packet of the run', () => {
    for (const part of ['2,314,814', '2,302,770', 'server socket: SO_RXQ_OVFL', '11,500', 'unexplained'])
      expect(PAGES.run).toContain(part);
  });
});

const chromium = findChromium();
const views = [
  { name: 'desk, light', width: 1200, dark: false },
  { name: 'desk, dark', width: 1200, dark: true },
  { name: 'phone, light', width: 390, dark: false },
  { name: 'phone, dark', width: 390, dark: true },
];

describe.skipIf(chromium === undefined)(
  `in Chromium${chromium === undefined ? ' (skipped: chromium is not installed)' : ''}`,
  () => {
    let folder: Folder;
    const keep = process.env.RINGWAY_SCREENSHOTS;
    let browser: Browser;
    beforeAll(() => {
      folder = createFolder();
      browser = new Browser(chromium ?? '');
    }, 30_000);
    afterAll(() => {
      folder.remove();
      return browser.close();
    });

    const cases = Object.keys(PAGES).flatMap((page) => views.map((view) => [page, view.name, view] as const));

    it.each(cases)(
      '%s, %s: every chart is drawn, nothing is wider than the page, text stands out',
      async (page, name, view) => {
        const file = folder.write(`${page}.html`, PAGES[page]);
        const before = browser.complaints.length;
        await browser.open(pathToFileURL(file).href, view);
        const seen = await browser.evaluate<{
          drawn: number;
          charts: number;
          overflow: number;
          ink: number;
          paper: number;
        }>(`(() => {
      const light = (colour) => colour.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + +part, 0) / 765;
      const style = getComputedStyle(document.body);
      return {
        drawn: +document.documentElement.dataset.drawn,
        charts: document.querySelectorAll('.chart canvas').length,
        overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        ink: light(style.color),
        paper: light(style.backgroundColor),
      };
    })()`);
        if (keep) {
          mkdirSync(keep, { recursive: true });
          writeFileSync(join(keep, `${page}-${name.replace(', ', '-')}.png`), await browser.screenshot());
        }
        const charts = page === 'sweep' ? 4 : 6;
        expect(seen).toMatchObject({ drawn: charts, charts, overflow: 0 });
        expect(view.dark ? seen.ink - seen.paper : seen.paper - seen.ink).toBeGreaterThan(0.7);
        expect(browser.complaints.slice(before)).toEqual([]);
      },
    );
  },
);
