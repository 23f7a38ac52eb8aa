import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadClientConfig } from '../../src/config/client.ts';
import { clientKeys } from '../../src/config/client-keys.ts';
import { defaultYaml, generateFile, jsonSchema } from '../../src/config/generate.ts';
import { loadServerConfig } from '../../src/config/server.ts';
import { serverKeys } from '../../src/config/server-keys.ts';
import { createFolder, type Folder, thrownBy } from './folder.ts';

let folder: Folder;

beforeEach(() => {
  folder = createFolder();
});
afterEach(() => folder.remove());

const NOTHING = { flags: {}, env: {} };

describe('defaultYaml', () => {
  it('written down and read again is what is read from an empty file', () => {
    const clientNeeds = 'server: a:1\nuser: u\npassword: p\n';
    const client = (text: string) => loadClientConfig(folder.write('c.yaml', text + clientNeeds), NOTHING).config;
    expect(client(defaultYaml(clientKeys))).toEqual(client(''));
    const server = (text: string) => loadServerConfig(folder.write('s.yaml', `${text}user_db: u\n`), NOTHING).config;
    expect(server(defaultYaml(serverKeys))).toEqual(server(''));
  });
});

describe('jsonSchema', () => {
  it('describes every key, and allows no other', () => {
    const schema = JSON.parse(jsonSchema(clientKeys));
    expect(Object.keys(schema.properties)).toEqual(Object.keys(clientKeys));
    expect(schema.properties.mode.enum).toEqual(['tcp', 'udp']);
    expect(schema.additionalProperties).toBe(false);
  });
});

describe('generateFile', () => {
  it('writes a file for its owner alone, and never over another', () => {
    const path = join(folder.path, 'new.yaml');
    generateFile(path, 'mode: udp\n');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(thrownBy(() => generateFile(path, 'other'))).toMatchObject({ code: 'FILE_EXISTS' });
    expect(readFileSync(path, 'utf8')).toBe('mode: udp\n');
  });
});
