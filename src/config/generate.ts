/** A configuration to begin with, and a JSON schema for editors: both from the table of keys. */
import { writeFileSync } from 'node:fs';
import { z } from 'zod';
import { RingwayError } from '../errors.ts';
import { asWritten, type Keys } from './keys.ts';

/** Every key with its meaning and default; what has no default is commented out. */
export function defaultYaml(keys: Keys): string {
  const blocks = Object.entries(keys)
    .filter(([, key]) => key.inert === undefined)
    .map(([name, { about, fallback, value }]) => {
      const shown = asWritten(fallback, value);
      return `# ${about}${value ? ` (${value})` : ''}\n${shown === undefined ? `# ${name}:` : `${name}: ${shown}`}\n`;
    });
  return blocks.join('\n');
}

/** What the values look like before they are read: text for times and sizes, their forms in the descriptions. */
export function jsonSchema(keys: Keys): string {
  const properties = Object.entries(keys).map(([name, { schema, about, value }]) => {
    const { $schema, ...shape } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
    return [name, { ...shape, description: value ? `${about} (${value})` : about }] as const;
  });
  const schema = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    properties: Object.fromEntries(properties),
    additionalProperties: false,
  };
  return `${JSON.stringify(schema, null, 2)}\n`;
}

/** Never overwrites: a configuration may hold the only copy of a password. @throws RingwayError FILE_EXISTS, FILE_UNWRITABLE */
export function generateFile(path: string, content: string): void {
  try {
    writeFileSync(path, content, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw code === 'EEXIST'
      ? new RingwayError('FILE_EXISTS', `${path} exists`, 'name another file with -c, or remove it first', { cause })
      : new RingwayError('FILE_UNWRITABLE', `cannot write ${path}: ${code}`, 'name another file with -c', { cause });
  }
}
