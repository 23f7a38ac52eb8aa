import { describe, expect, it } from 'vitest';
import { createLog, type LogStyle } from '../../src/observe/log.ts';

function logged(style: Partial<LogStyle>, write: (log: ReturnType<typeof createLog>) => void): string[] {
  const lines: string[] = [];
  write(createLog('keeper', { logLevel: 'info', logFormat: 'full', ...style }, (line) => lines.push(line)));
  return lines;
}

describe('createLog', () => {
  it.each([
    ['trace', 5],
    ['debug', 4],
    ['info', 3],
    ['warn', 2],
    ['error', 1],
    ['off', 0],
  ] as const)('at level %s lets %i of five severities through', (logLevel, count) => {
    const lines = logged({ logLevel }, (log) => {
      for (const level of ['trace', 'debug', 'info', 'warn', 'error'] as const) log[level]('x');
    });
    expect(lines).toHaveLength(count);
  });

  it('in the form json writes one object a line', () => {
    const [line] = logged({ logFormat: 'json' }, (log) => log.warn({ shard: 1 }, 'message'));
    expect(JSON.parse(line)).toMatchObject({ level: 'warn', part: 'keeper', shard: 1, msg: 'message' });
    expect(line.endsWith('\n')).toBe(true);
  });

  it('in the other forms writes who, how severe, what, and the fields', () => {
    const write = (log: ReturnType<typeof createLog>) => log.warn({ shard: 1, cause: 'EIO' }, 'message');
    expect(logged({ logFormat: 'full' }, write)[0]).toMatch(/^\d{4}-.*Z +WARN keeper: message shard=1 cause=EIO\n$/);
    expect(logged({ logFormat: 'compact' }, write)[0]).toBe('WARN keeper: message shard=1 cause=EIO\n');
    expect(logged({ logFormat: 'pretty' }, write)[0].split('\n')).toHaveLength(4);
  });

  it.each(['full', 'compact', 'pretty', 'json'] as const)(
    'in the form %s lets no text begin a line or reach a terminal',
    (logFormat) => {
      const hostile = 'eve\n2026 INFO server: root is online\r\u001b[2J\u009b2J\u2028\u202e';
      const lines = logged({ logFormat }, (log) => log.info({ user: hostile }, `login refused: ${hostile}`));
      expect(lines).toHaveLength(1);
      expect(lines[0].trimEnd().split('\n')).toHaveLength(logFormat === 'pretty' ? 2 : 1);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are the matter of this test
      expect(lines[0]).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f]/);
      if (logFormat !== 'json') expect(lines[0]).not.toMatch(/[\x80-\x9f\u2028\u202e]/);
    },
  );

  it.each(['full', 'json'] as const)('in the form %s never writes a field that is named like a secret', (logFormat) => {
    const secret = 'correct-horse';
    const lines = logged({ logFormat }, (log) => {
      log.info(
        {
          password: secret,
          token: secret,
          server: { password: secret, key: secret },
          start: { files: { key: secret } },
        },
        'x',
      );
    });
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toContain(secret);
  });
});
