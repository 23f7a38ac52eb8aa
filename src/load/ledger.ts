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
  /** The counter counts trains or superpackets: `packets` is their number times their mean length. */
  readonly estimated: boolean;
}

export interface Ledger {
  readonly offered: number;
  /** Each once. */
  readonly delivered: number;
  readonly losses: readonly Loss[];
  readonly unexplained: number;
}

/**
 * Balances a run. Estimates give way: where counters explain more than is missing, estimated losses shrink in proportion, and
 * what exact counters say stays as it is.
 */
export function balance(offered: number, delivered: number, found: readonly Loss[]): Ledger {
  const missing = Math.max(0, offered - delivered);
  const losses = found.filter(({ packets }) => packets > 0);
  const sum = (estimated: boolean) =>
    losses.filter((loss) => loss.estimated === estimated).reduce((all, { packets }) => all + packets, 0);
  const exact = sum(false);
  const room = Math.max(0, missing - exact);
  const estimated = sum(true);
  const scale = estimated > room ? room / estimated : 1;
  const settled = losses.map((loss) =>
    loss.estimated ? { ...loss, packets: Math.round(loss.packets * scale) } : loss,
  );
  const explained = settled.reduce((all, { packets }) => all + packets, 0);
  return {
    offered,
    delivered,
    losses: settled.filter(({ packets }) => packets > 0).sort((a, b) => b.packets - a.packets),
    unexplained: Math.max(0, missing - explained),
  };
}

export function lossRatio({ offered, delivered }: Pick<Ledger, 'offered' | 'delivered'>): number {
  return offered === 0 ? 0 : Math.max(0, offered - delivered) / offered;
}
