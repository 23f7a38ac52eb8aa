/**
 * Where every offered packet went: it was delivered, somebody along the way counted its loss, or it is unexplained. The way up is
 * loader → server's socket → server → TUN → network behind → sink's socket; the way down is the same, backwards.
 */
export interface Loss {
  /** Who lost it, as people call it: `server`, `server socket`, `server TUN`, `sink socket`, `loader`, `loader socket`. */
  readonly where: string;
  /** The counter's own name: a verdict of the datapath, SO_RXQ_OVFL, tx_dropped ... */
  readonly reason: string;
  readonly packets: number;
  /** The counter counts trains or superpackets: `packets` is their number times their length, which is known only roughly. */
  readonly estimated: boolean;
}

/** A loss as it was found. */
export interface Found extends Loss {
  /** Estimated: as many as the counter can stand for, if every train was of the longest kind. */
  readonly most: number;
}

export interface Ledger {
  readonly offered: number;
  /** Each once. */
  readonly delivered: number;
  readonly losses: readonly Loss[];
  readonly unexplained: number;
}

/**
 * Balances a run. What exact counters say stays as it is. Estimates give way: together they are never more than what is missing, and
 * where that is more than their trains held on average, they grow towards what those trains can have held at most.
 */
export function balance(offered: number, delivered: number, all: readonly Found[]): Ledger {
  const missing = Math.max(0, offered - delivered);
  const found = all.filter(({ packets }) => packets > 0);
  const sum = (estimated: boolean, of: (loss: Found) => number) =>
    found.filter((loss) => loss.estimated === estimated).reduce((total, loss) => total + of(loss), 0);
  const room = Math.max(0, missing - sum(false, ({ packets }) => packets));
  const [likely, most] = [sum(true, ({ packets }) => packets), sum(true, (loss) => loss.most)];
  const growth = most > likely ? Math.min(1, Math.max(0, (room - likely) / (most - likely))) : 0;
  const shrink = likely > room ? room / likely : 1;
  const losses = found
    .map(({ most: upTo, ...loss }) => {
      const packets = loss.estimated ? (loss.packets + (upTo - loss.packets) * growth) * shrink : loss.packets;
      return { ...loss, packets: Math.round(packets) };
    })
    .filter(({ packets }) => packets > 0)
    .sort((a, b) => b.packets - a.packets);
  const explained = losses.reduce((total, { packets }) => total + packets, 0);
  const rounding = losses.filter(({ estimated }) => estimated).length; // half a packet each, either way
  const left = Math.max(0, missing - explained);
  return { offered, delivered, losses, unexplained: left <= rounding ? 0 : left };
}

export function lossRatio({ offered, delivered }: Pick<Ledger, 'offered' | 'delivered'>): number {
  return offered === 0 ? 0 : Math.max(0, offered - delivered) / offered;
}
