import { chmodSync, existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadClientConfig } from '../../src/config/client.ts';
import { dressDevice, goOnline, routeServer } from '../../src/keeper/client-host.ts';
import { ownNamespace } from '../../src/keeper/control.ts';
import { type Answer, Host, type Shell, thisShell } from '../../src/keeper/host.ts';
import { Journal, undoJournals } from '../../src/keeper/journal.ts';
import { mendNames, whoseNames } from '../../src/keeper/names.ts';
import { createFolder, type Folder } from '../config/folder.ts';

const NETWORK = {
  serverAddress: '203.0.113.7',
  localIp: '10.125.0.5',
  peerIp: '10.125.0.6',
  dnsIp: '10.125.0.1',
  mtu: 1350,
};
const OUT = { gateway: '192.0.2.1', dev: 'eth0' };
const RESOLV_CONF = '/etc/resolv.conf';

/** A system whose tools remember what they were told. Programs in `works` succeed; `ip` always does, unless an object exists. */
class ScriptedShell implements Shell {
  readonly commands: string[] = [];
  readonly files: Record<string, string> = { [RESOLV_CONF]: 'nameserver 192.0.2.53\n' };
  readonly exists = new Set<string>();
  works = new Set<string>();
  wayToServer: object = OUT;
  readOnly: string[] = [];

  run(program: string, args: readonly string[], input?: string): Answer {
    const command = [program, ...args].join(' ');
    if (program === 'ip') return this.#ip(command, args);
    if (!this.works.has(program)) return { status: 1, output: '', complaint: '', missing: true };
    this.commands.push(input === undefined ? command : `${command} <<< ${input.trim()}`);
    return { status: 0, output: '', complaint: '', missing: false };
  }

  #ip(command: string, args: readonly string[]): Answer {
    const done = (output: string) => ({ status: 0, output, complaint: '', missing: false });
    if (command.startsWith('ip -j route get')) return done(JSON.stringify([this.wayToServer]));
    if (command.startsWith('ip -j -6 route show default')) return done('[]');
    if (command.startsWith('ip -j -4 route show default')) return done(JSON.stringify([OUT]));
    if (command.startsWith('ip -j link show')) return done(JSON.stringify([{ mtu: 1400, flags: ['POINTOPOINT'] }]));
    if (this.exists.has(args[2]))
      return { status: 2, output: '', complaint: 'RTNETLINK answers: File exists', missing: false };
    this.commands.push(command);
    return done('');
  }

  read(path: string): string {
    if (this.files[path] === undefined) throw new Error(`ENOENT: ${path}`);
    return this.files[path];
  }

  readKept(path: string): string {
    return this.read(path);
  }

  keep(path: string, content: string): void {
    if (this.readOnly.some((folder) => path.startsWith(folder))) throw new Error(`EROFS: ${path}`);
    this.files[path] = content;
  }

  remove(path: string): void {
    delete this.files[path];
  }

  write(path: string, content: string): void {
    this.files[path] = content;
  }

  /** What was asked since the last look. */
  look(): string[] {
    return this.commands.splice(0);
  }
}

let folder: Folder;
let shell: ScriptedShell;
let host: Host;

beforeEach(() => {
  folder = createFolder();
  shell = new ScriptedShell();
  host = new Host(shell);
});
afterEach(() => folder.remove());

function config(lines: string) {
  return loadClientConfig(folder.write('c.yaml', `server: a:1\nuser: u\npassword: p\ntun_name: lwc\n${lines}`), {
    flags: {},
    env: {},
  }).config;
}

describe('dressDevice', () => {
  it('gives the device what the stock client gives it: address, peer, MTU 1350, up', () => {
    dressDevice(host, 'lwc', config(''), false);
    expect(shell.look()).toEqual([
      'ip address add 100.64.0.6 peer 100.64.0.5 dev lwc',
      'ip link set dev lwc mtu 1350 up',
    ]);
  });

  it('leaves a device that was there before as it found it', () => {
    dressDevice(host, 'lwc', config(''), true);
    shell.look();
    host.undo();
    expect(shell.look()).toEqual([
      'ip address delete 100.64.0.6 peer 100.64.0.5 dev lwc',
      'ip link set dev lwc mtu 1400 down',
    ]);
  });

  it('does not take away an address that was there before', () => {
    shell.exists.add('100.64.0.6');
    dressDevice(host, 'lwc', config(''), false);
    shell.look();
    host.undo();
    expect(shell.look()).toEqual([]);
  });
});

describe('goOnline', () => {
  it('under route_mode and dns_config_mode noexec touches nothing', () => {
    goOnline(host, 'lwc', config('route_mode: noexec\ndns_config_mode: noexec\n'), NETWORK);
    host.undo();
    expect(shell.look()).toEqual([]);
    expect(shell.files[RESOLV_CONF]).toBe('nameserver 192.0.2.53\n');
  });

  it('sends everything through the tunnel but the server itself, and undoes it in reverse', () => {
    goOnline(host, 'lwc', config('dns_config_mode: noexec\n'), NETWORK);
    const added = shell.look();
    expect(added).toEqual([
      'ip route add 203.0.113.7/32 via 192.0.2.1 dev eth0',
      'ip route add 0.0.0.0/1 via 100.64.0.5 dev lwc',
      'ip route add 128.0.0.0/1 via 100.64.0.5 dev lwc',
      'ip route add 100.64.0.1/32 via 100.64.0.5 dev lwc',
    ]);
    host.undo();
    expect(shell.look()).toEqual(added.map((command) => command.replace(' add ', ' delete ')).reverse());
  });

  it('under route_mode lan keeps private networks where they were', () => {
    goOnline(host, 'lwc', config('route_mode: lan\ndns_config_mode: noexec\n'), NETWORK);
    const outside = shell.look().filter((command) => command.endsWith('via 192.0.2.1 dev eth0'));
    expect(outside).toHaveLength(6);
    expect(outside).toContain('ip route add 192.168.0.0/16 via 192.0.2.1 dev eth0');
  });

  it('needs no route to a server on this host', () => {
    shell.wayToServer = { dev: 'lo', type: 'local' };
    goOnline(host, 'lwc', config('dns_config_mode: noexec\n'), NETWORK);
    expect(shell.look()[0]).toContain('0.0.0.0/1');
  });

  it('said again after a roam replaces what it had installed', () => {
    const settings = config('dns_config_mode: noexec\n');
    goOnline(host, 'lwc', settings, NETWORK);
    const first = shell.look();
    goOnline(host, 'lwc', settings, { ...NETWORK, serverAddress: '203.0.113.8' });
    const commands = shell.look();
    expect(commands.filter((command) => command.includes(' delete '))).toHaveLength(first.length);
    expect(commands).toContain('ip route add 203.0.113.8/32 via 192.0.2.1 dev eth0');
    host.undo();
    expect(shell.look()).toHaveLength(4);
  });

  it('does not delete a route that was there before', () => {
    shell.exists.add('203.0.113.7/32');
    goOnline(host, 'lwc', config('dns_config_mode: noexec\n'), NETWORK);
    shell.look();
    host.undo();
    expect(shell.look().filter((command) => command.includes('203.0.113.7'))).toEqual([]);
  });
});

describe('routeServer', () => {
  it('follows the default route, and not the tunnel that now answers for everything', () => {
    goOnline(host, 'lwc', config('dns_config_mode: noexec\n'), NETWORK);
    shell.look();
    shell.wayToServer = { gateway: '100.64.0.5', dev: 'lwc' };
    routeServer(host, 'lwc', NETWORK.serverAddress, 'leave');
    expect(shell.look()).toEqual([
      'ip route delete 203.0.113.7/32 via 192.0.2.1 dev eth0',
      'ip route add 203.0.113.7/32 via 192.0.2.1 dev eth0',
    ]);
  });
});

describe('names', () => {
  const settings = () => config('route_mode: noexec\n');

  it('go through resolvectl where that works', () => {
    shell.works = new Set(['resolvectl', 'resolvconf']);
    goOnline(host, 'lwc', settings(), NETWORK);
    expect(shell.look()).toEqual(['resolvectl dns lwc 100.64.0.1', 'resolvectl domain lwc ~.']);
    host.undo();
    expect(shell.look()).toEqual(['resolvectl revert lwc']);
  });

  it('else through resolvconf', () => {
    shell.works = new Set(['resolvconf']);
    goOnline(host, 'lwc', settings(), NETWORK);
    expect(shell.look()).toEqual(['resolvconf -a lwc.ringway <<< nameserver 100.64.0.1']);
    host.undo();
    expect(shell.look()).toEqual(['resolvconf -d lwc.ringway']);
  });

  it('else through the file, which gets its content back unless somebody changed it meanwhile', () => {
    goOnline(host, 'lwc', settings(), NETWORK);
    expect(shell.files[RESOLV_CONF]).toContain('nameserver 100.64.0.1\n');
    host.undo();
    expect(shell.files[RESOLV_CONF]).toBe('nameserver 192.0.2.53\n');

    goOnline(host, 'lwc', settings(), NETWORK);
    shell.files[RESOLV_CONF] = 'nameserver 198.51.100.1\n';
    host.undo();
    expect(shell.files).toEqual({ [RESOLV_CONF]: 'nameserver 198.51.100.1\n' });
  });

  // the text of a client that was killed was taken for the former content, and the former content was lost
  it('come back from beside the file after clients that were killed, one over the other', () => {
    const before = { ...shell.files };
    for (let killed = 0; killed < 3; killed++) goOnline(new Host(shell), 'lwc', settings(), NETWORK);
    expect(mendNames(shell)).toEqual({ pid: process.pid, restored: true });
    expect(shell.files).toEqual(before);
    expect(mendNames(shell)).toBeUndefined();

    goOnline(new Host(shell), 'lwc', settings(), NETWORK); // killed, and nobody has mended it
    goOnline(host, 'lwc', settings(), NETWORK);
    host.undo();
    expect(shell.files).toEqual(before);
  });

  it('come back whichever of two clients ends first', () => {
    const before = { ...shell.files };
    const second = new Host(shell);
    goOnline(host, 'lwc', settings(), NETWORK);
    goOnline(second, 'lw2', settings(), NETWORK);
    host.undo();
    expect(shell.files[RESOLV_CONF]).toMatch(/^# written by ringway/);
    second.undo();
    expect(shell.files).toEqual(before);
  });

  it('come back from the state folder where /etc takes no new file', () => {
    shell.readOnly = ['/etc/'];
    const before = { ...shell.files };
    const kept = config(`route_mode: noexec\nringway: { state: ${folder.path} }\n`);
    goOnline(new Host(shell), 'lwc', kept, NETWORK);
    expect(Object.keys(shell.files).filter((path) => path.startsWith(folder.path))).toHaveLength(1);
    expect(mendNames(shell)).toMatchObject({ restored: true });
    expect(shell.files).toEqual(before);
  });

  it('stay as they are where the former content cannot be kept anywhere', () => {
    shell.readOnly = ['/'];
    const before = { ...shell.files };
    const { namesRefused } = goOnline(host, 'lwc', settings(), NETWORK);
    expect(namesRefused).toMatchObject({ code: 'NAMES_REFUSED' });
    expect(shell.files).toEqual(before);
  });

  it('stay as they are where the file cannot be written to its end', () => {
    const before = { ...shell.files };
    const write = shell.write.bind(shell);
    let refusals = 1;
    shell.write = (path, content) => {
      write(path, refusals > 0 ? content.slice(0, 20) : content);
      if (refusals-- > 0) throw new Error('ENOSPC');
    };
    expect(goOnline(host, 'lwc', settings(), NETWORK).namesRefused).toMatchObject({ code: 'NAMES_REFUSED' });
    host.undo();
    expect(shell.files).toEqual(before);
  });

  it.each(['/etc/shadow', '/etc/resolv.conf.ringway-0123456z', '/etc/kept'])('are not looked for in %s', (path) => {
    shell.files[path] = 'secret';
    const mark = `# (process 1, begun 0; until then it is in ${path})`;
    const text = `# written by ringway, which puts the former content back when it ends\n${mark}\nnameserver 100.64.0.1\n`;
    shell.files[RESOLV_CONF] = text;
    expect(mendNames(shell)).toMatchObject({ restored: false });
    expect([shell.files[path], shell.files[RESOLV_CONF]]).toEqual(['secret', text]);
  });

  it("of a client that lives are nobody else's to mend; of an older version they are lost, and said to be", () => {
    const text = '# written by ringway, which puts the former content back when it ends\n';
    const begun = readFileSync(`/proc/${process.ppid}/stat`, 'utf8').split(') ')[1].split(' ')[19];
    shell.files['/etc/resolv.conf.ringway-01234567'] = 'nameserver 192.0.2.53\n';
    const owned = `${text}# (process ${process.ppid}, begun ${begun}; until then it is in /etc/resolv.conf.ringway-01234567)\nnameserver 100.64.0.1\n`;
    shell.files[RESOLV_CONF] = owned;
    expect(mendNames(shell)).toBeUndefined();
    expect(whoseNames(shell)).toContain(`the tunnel of process ${process.ppid}`);
    expect(shell.files[RESOLV_CONF]).toBe(owned);

    shell.files[RESOLV_CONF] = owned.replace(`begun ${begun}`, 'begun 1'); // its number is another program's now
    expect(mendNames(shell)).toMatchObject({ restored: true });
    expect(whoseNames(shell)).toBeUndefined();

    shell.files[RESOLV_CONF] = `${text}nameserver 100.64.0.1\n`;
    expect(mendNames(shell)).toEqual({ pid: undefined, restored: false });
    expect(whoseNames(shell)).toContain('a tunnel that is gone');
  });
});

describe('a kept file', () => {
  const system = thisShell();
  const path = () => join(folder.path, 'resolv.conf.ringway-01234567');

  it('is read back', () => {
    system.keep(path(), 'nameserver 192.0.2.53\n');
    expect(system.readKept(path())).toBe('nameserver 192.0.2.53\n');
    expect(() => system.keep(path(), 'another')).toThrow(/EEXIST/);
  });

  it('is not believed when it is a link, or open to others', () => {
    folder.write('elsewhere', 'secret');
    chmodSync(join(folder.path, 'elsewhere'), 0o600);
    symlinkSync(join(folder.path, 'elsewhere'), path());
    expect(() => system.readKept(path())).toThrow(/ELOOP/);
    system.remove(path());
    system.keep(path(), 'text');
    chmodSync(path(), 0o640);
    expect(() => system.readKept(path())).toThrow(/not kept/);
  });

  it('is replaced in place by what is shorter', () => {
    const file = folder.write('resolv.conf', 'a longer text\n');
    system.write(file, 'short\n');
    expect(readFileSync(file, 'utf8')).toBe('short\n');
  });
});

describe('what is written down', () => {
  const page = () => join(folder.path, `undo-${process.pid}.json`);
  const writingDown = () => {
    const complaints: string[] = [];
    host.writeDown(new Journal(folder.path, ({ code }) => complaints.push(code)));
    return complaints;
  };

  it('is undone by the next start when the client was killed, newest first, and only then', () => {
    const complaints = writingDown();
    goOnline(host, 'lwc', config('dns_config_mode: noexec\n'), NETWORK);
    const added = shell.look();
    expect(statSync(page()).mode & 0o777).toBe(0o600);
    const deletions = added.map((command) => command.replace(' add ', ' delete ')).reverse();
    expect(undoJournals(shell, folder.path)).toEqual([{ pid: process.pid, undone: deletions }]);
    expect(shell.look()).toEqual(deletions);
    expect(existsSync(page())).toBe(false);
    expect(undoJournals(shell, folder.path)).toEqual([]);
    expect(complaints).toEqual([]);
  });

  it('is gone when the client has undone it itself', () => {
    writingDown();
    goOnline(host, 'lwc', config('dns_config_mode: noexec\n'), NETWORK);
    host.undo();
    expect(existsSync(page())).toBe(false);
  });

  it.each([
    ['of a process that lives', (text: string) => text.replace(String(process.pid), String(process.ppid)), 0o600],
    ['of another network namespace', (text: string) => text.replace(/net:\[\d+\]/, 'net:[1]'), 0o600],
    ['that others could have written', (text: string) => text, 0o622],
    ['that is half a page', (text: string) => text.slice(0, 40), 0o600],
  ])('%s is let alone', (what, change, mode) => {
    writingDown();
    goOnline(host, 'lwc', config('dns_config_mode: noexec\n'), NETWORK);
    shell.look();
    let text = change(readFileSync(page(), 'utf8'));
    if (what.endsWith('lives')) {
      const begun = readFileSync(`/proc/${process.ppid}/stat`, 'utf8').split(') ')[1].split(' ')[19];
      text = text.replace(/"begun":"\d+"/, `"begun":"${begun}"`);
    }
    writeFileSync(page(), text);
    chmodSync(page(), mode);
    expect(undoJournals(shell, folder.path)).toEqual([]);
    expect(shell.look()).toEqual([]);
  });

  it('runs no program but those that are written down', () => {
    shell.works = new Set(['rm']);
    const words = {
      owner: { pid: 1, begun: 'x' },
      namespace: ownNamespace(),
      commands: [
        ['rm', '-r', '/'],
        ['ip', 'netns', 'exec', 'x', 'rm'],
        ['ip', '-batch', '/x'],
      ],
    };
    folder.write('undo-1.json', JSON.stringify(words));
    chmodSync(join(folder.path, 'undo-1.json'), 0o600);
    undoJournals(shell, folder.path);
    expect(shell.look()).toEqual([]);
  });

  it('is complained of once where it cannot be', () => {
    const complaints: string[] = [];
    host.writeDown(new Journal(join(folder.write('file', ''), 'state'), ({ code }) => complaints.push(code)));
    goOnline(host, 'lwc', config('dns_config_mode: noexec\n'), NETWORK);
    expect(complaints).toEqual(['UNDO_UNKEPT']);
  });
});

describe('Host', () => {
  it('tells a missing tool from a refusal', () => {
    const answer = { status: 1, output: '', complaint: 'Operation not permitted', missing: false };
    const files = { read: () => '', readKept: () => '', write: () => {}, keep: () => {}, remove: () => {} };
    const refusing = new Host({ ...files, run: () => answer });
    expect(() => refusing.ip('link')).toThrow(expect.objectContaining({ code: 'HOST_REFUSED' }));
    const lacking = new Host({ ...files, run: () => ({ ...answer, missing: true }) });
    expect(() => lacking.ip('link')).toThrow(expect.objectContaining({ code: 'IP_MISSING' }));
  });

  it('undoes the rest when one undoing fails', () => {
    const undone: string[] = [];
    host.later('a', () => undone.push('first'));
    host.later('a', () => {
      throw new Error('gone');
    });
    host.undo();
    expect(undone).toEqual(['first']);
  });
});
