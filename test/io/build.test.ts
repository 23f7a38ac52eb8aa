/** The addon is refused where it was built from other sources, or for another Node, than those that would use it. */
import { equal, match } from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const ADDON = process.env.RINGWAY_ADDON ?? join(ROOT, 'build/Release/ringway.node');
const LOAD = `import('${ROOT}src/native/index.ts').then(({ loadAddon }) => { loadAddon(); console.log('loaded'); })
  .catch(({ code, message, advice }) => console.log(code, message, advice))`;

describe('loadAddon', () => {
  let folder: string;
  const digest = execFileSync('sh', ['bin/native-digest.sh'], { cwd: ROOT, encoding: 'utf8' }).trim();

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringway-build-'));
    copyFileSync(ADDON, join(folder, 'ringway.node'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function load(built: string | undefined): string {
    if (built !== undefined) writeFileSync(join(folder, 'ringway.built'), built);
    const env = { ...process.env, RINGWAY_ADDON: join(folder, 'ringway.node') };
    const { stdout, stderr } = spawnSync(process.execPath, ['-e', LOAD], { env, encoding: 'utf8' });
    return stdout.trim() || stderr;
  }

  it('takes what was built from the sources that are here', () => {
    equal(load(`${digest} ${process.version}\n`), 'loaded');
  });

  it.each([
    ['other sources', `${'0'.repeat(64)} ${process.version}\n`, /^ADDON_STALE .* other sources .*npm run setup/],
    ['another Node', `${digest} v18.20.4\n`, /^ADDON_STALE .* built for Node v18\.20\.4, .*bin\/ringway/],
    ['nobody knows what', undefined, /^ADDON_MISSING .*npm run setup/],
  ])('refuses what was built from %s', (_what, built, expected) => {
    match(load(built), expected);
  });
});
