/** YAML with places: every value knows the line and column it was written at. */
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, type Pair, parseDocument } from 'yaml';
import { ConfigError, type Origin } from './problem.ts';

/** A value of the file. `written` is a scalar as it stands there (without quotes), which `value` may have lost: 0123 is 83, or 123. */
export interface Written {
  readonly value: unknown;
  readonly written: string | undefined;
  readonly origin: Origin;
  /** Of the key before it, in a map. */
  readonly keyOrigin?: Origin;
  /** Entries of a map, elements of a list. */
  readonly entries?: ReadonlyMap<string, Written>;
  readonly elements?: readonly Written[];
}

/** @throws ConfigError CONFIG_SYNTAX with line and column */
export function readYaml(content: string, file: string): ReadonlyMap<string, Written> {
  const lines = new LineCounter();
  const document = parseDocument(content, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const at = (offset: number): Origin => {
    const { line, col } = lines.linePos(offset);
    return { layer: 'file', file, line, column: col };
  };
  const wrong = (offset: number, message: string, advice: string) =>
    new ConfigError([{ code: 'CONFIG_SYNTAX', key: '', origin: at(offset), message, advice }]);

  const [error] = document.errors;
  if (error?.code === 'DUPLICATE_KEY') {
    const name = /^[^:\s]*/.exec(content.slice(error.pos[0]))?.[0] ?? '';
    throw wrong(error.pos[0], `${name} is set a second time`, 'leave one of the two');
  }
  if (error) throw wrong(error.pos[0], error.message.replace(/\s+/g, ' '), 'correct the YAML there');

  const visit = (node: Node | null | undefined, fallback: Origin): Written => {
    const origin = node?.range ? at(node.range[0]) : fallback;
    if (isAlias(node))
      throw wrong(node.range?.[0] ?? 0, 'aliases (*name) are not read in a configuration', 'write the value out');
    if (isMap(node))
      return { value: node, written: undefined, origin, entries: entriesOf(node.items as Pair<Node, Node>[]) };
    if (isSeq(node)) {
      return {
        value: node,
        written: undefined,
        origin,
        elements: (node.items as Node[]).map((item) => visit(item, origin)),
      };
    }
    if (!isScalar(node)) return { value: null, written: undefined, origin };
    return {
      value: node.value,
      written: node.value === null ? undefined : (node.source ?? String(node.value)),
      origin,
    };
  };
  const entriesOf = (pairs: readonly Pair<Node, Node>[]) => {
    const entries = new Map<string, Written>();
    for (const { key, value } of pairs) {
      const origin = at(key?.range?.[0] ?? 0);
      if (!isScalar(key)) throw wrong(key?.range?.[0] ?? 0, 'a key has to be plain text', 'write KEY: VALUE');
      entries.set(String(key.source ?? key.value), { ...visit(value, origin), keyOrigin: origin });
    }
    return entries;
  };

  const { contents } = document;
  if (contents === null || (isScalar(contents) && contents.value === null)) return new Map();
  if (!isMap(contents)) {
    throw wrong(contents.range?.[0] ?? 0, 'the file is not a map of keys to values', 'write one KEY: VALUE a line');
  }
  return entriesOf(contents.items as Pair<Node, Node>[]);
}
