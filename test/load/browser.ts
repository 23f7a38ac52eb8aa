/** A headless Chromium, driven over its debugging pipe: pages at the width and in the colours a test asks for. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

/** @returns the program, or undefined where no Chromium is installed */
export function findChromium(): string | undefined {
  return NAMES.find((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status === 0);
}

export interface View {
  readonly width: number;
  readonly dark: boolean;
}

type Answer = {
  id?: number;
  result?: Record<string, unknown>;
  error?: { message: string };
  method?: string;
  params?: unknown;
};

export class Browser {
  readonly #child: ChildProcess;
  readonly #profile = mkdtempSync(join(tmpdir(), 'ringway-browser-'));
  readonly #waiting = new Map<number, { resolve(value: Record<string, unknown>): void; reject(error: Error): void }>();
  readonly #events = new Map<string, (() => void)[]>();
  /** Exceptions and console errors of every page so far. */
  readonly complaints: string[] = [];
  #next = 1;
  #session: string | undefined;

  constructor(program: string) {
    const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe', '--disable-dev-shm-usage'];
    this.#child = spawn(program, [...flags, `--user-data-dir=${this.#profile}`, 'about:blank'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    });
    let heard = '';
    const from = this.#child.stdio[4] as Readable;
    from.setEncoding('utf8');
    from.on('data', (text: string) => {
      const parts = (heard + text).split('\0');
      heard = parts.pop() ?? '';
      for (const part of parts) this.#take(JSON.parse(part) as Answer);
    });
    this.#child.once('exit', (code) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`chromium ended with code ${code}`));
    });
  }

  #take(answer: Answer): void {
    if (answer.id !== undefined) {
      const waiting = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if (answer.error) waiting?.reject(new Error(answer.error.message));
      else waiting?.resolve(answer.result ?? {});
      return;
    }
    if (answer.method === 'Runtime.exceptionThrown' || answer.method === 'Log.entryAdded')
      this.complaints.push(JSON.stringify(answer.params));
    for (const each of this.#events.get(answer.method ?? '')?.splice(0) ?? []) each();
  }

  #send(method: string, params: object = {}): Promise<Record<string, unknown>> {
    const id = this.#next++;
    const session = this.#session === undefined ? {} : { sessionId: this.#session };
    (this.#child.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, ...session })}\0`);
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  #once(event: string): Promise<void> {
    return new Promise((resolve) => {
      this.#events.set(event, [...(this.#events.get(event) ?? []), resolve]);
    });
  }

  async open(url: string, { width, dark }: View): Promise<void> {
    if (this.#session === undefined) {
      const { targetInfos } = (await this.#send('Target.getTargets')) as {
        targetInfos: { targetId: string; type: string }[];
      };
      const targetId = targetInfos.find(({ type }) => type === 'page')?.targetId;
      const { sessionId } = await this.#send('Target.attachToTarget', { targetId, flatten: true });
      this.#session = sessionId as string;
      for (const domain of ['Page', 'Runtime', 'Log']) await this.#send(`${domain}.enable`);
    }
    await this.#send('Emulation.setDeviceMetricsOverride', {
      width,
      height: 800,
      deviceScaleFactor: 1,
      mobile: width < 600,
    });
    const scheme = { name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' };
    await this.#send('Emulation.setEmulatedMedia', { features: [scheme] });
    const loaded = this.#once('Page.loadEventFired');
    await this.#send('Page.navigate', { url });
    await loaded;
  }

  /** The value of a JavaScript expression in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = (await this.#send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    })) as {
      result: { value: T };
      exceptionDetails?: unknown;
    };
    if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
    return result.value;
  }

  /** The whole page as PNG. */
  async screenshot(): Promise<Uint8Array> {
    const { cssContentSize } = (await this.#send('Page.getLayoutMetrics')) as {
      cssContentSize: { width: number; height: number };
    };
    const clip = { x: 0, y: 0, width: cssContentSize.width, height: cssContentSize.height, scale: 1 };
    const { data } = await this.#send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true, clip });
    return Buffer.from(data as string, 'base64');
  }

  async close(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await gone;
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
