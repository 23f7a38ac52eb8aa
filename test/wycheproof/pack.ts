/**
 * `sh bin/node test/wycheproof/pack.ts FOLDER [NAME...]`: writes vectors/vectors.json.zst and vectors/SHA256SUMS from files of FOLDER: those
 * named, or those packed now. One archive: the ML-KEM files hold the same keys, which compresses away only where they lie together.
 */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants, zstdCompressSync } from 'node:zlib';
import { ARCHIVE, listed, SUMS } from './vectors.ts';

const [folder, ...named] = process.argv.slice(2);
if (!folder) {
  console.error('expected a folder with test vectors (testvectors_v1 of Project Wycheproof)');
  process.exit(2);
}
const names = (named.length > 0 ? named : [...listed().keys()]).sort();
const files = Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
const sums = Object.entries(files).map(
  ([name, text]) => `${createHash('sha256').update(text).digest('hex')}  ${name}\n`,
);

const { ZSTD_c_compressionLevel, ZSTD_c_windowLog, ZSTD_c_enableLongDistanceMatching } = constants;
const params = {
  [ZSTD_c_compressionLevel]: 22,
  [ZSTD_c_windowLog]: 24, // above all the files together
  [ZSTD_c_enableLongDistanceMatching]: 1,
};
writeFileSync(ARCHIVE, zstdCompressSync(JSON.stringify(files), { params }));
writeFileSync(SUMS, sums.join(''));
console.log(`${names.length} files`);
