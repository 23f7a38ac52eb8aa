// Draws the charts of a report in the browser: what each shows comes as JSON in the page, how it looks from the page's style.
/* global uPlot, document, matchMedia, getComputedStyle, ResizeObserver */
(() => {
  const charts = JSON.parse(document.getElementById('charts').textContent);
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // three digits that count, without zeros at the end
  const digits = (value) => String(+(+value).toPrecision(Math.abs(value) >= 1000 ? 4 : 3));
  const scaled = (value, units, unit = 0) => {
    while (Math.abs(value) >= 999.5 && unit < units.length - 1) {
      value /= 1000;
      unit++;
    }
    return `${digits(value)} ${units[unit]}`;
  };
  const format = {
    rate: (value) => (value === 0 ? '0' : scaled(value, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s'])),
    time: (us) =>
      us < 1 && us > 0
        ? `${digits(us * 1000)} ns`
        : us < 1000
          ? `${digits(us)} µs`
          : us < 1e6
            ? `${digits(us / 1000)} ms`
            : `${digits(us / 1e6)} s`,
    share: (value) => `${digits(value * 100)} %`,
    seconds: (value) => `${digits(value)} s`,
    count: (value) => (value >= 10000 ? scaled(value, ['', 'k', 'M']) : digits(value)),
    // x of a latency distribution: log10 of 1 / (1 − share)
    nines: (value) => {
      const share = 1 - 10 ** -value;
      if (value === 0) return '0 %';
      return `${(share * 100).toFixed(Math.max(0, Math.ceil(value - 2 - 1e-9)))} %`;
    },
    decades: (value) => digits(10 ** value),
  };

  function build(chart, width) {
    const soft = style('--soft');
    const axis = {
      stroke: soft,
      grid: { stroke: style('--grid'), width: 1 },
      ticks: { stroke: style('--grid'), width: 1 },
      font: '12px system-ui, sans-serif',
    };
    const shown = (kind) => (_plot, value) => (value === null || value === undefined ? '–' : format[kind](value));
    const every = (kind) => (_plot, values) => values.map((value) => (value === null ? '' : format[kind](value)));
    const logX = chart.x === 'nines' || chart.x === 'decades';
    const series = chart.series.map((each) => ({
      label: each.label,
      stroke: style(each.colour),
      width: each.dash ? 1.5 : 2,
      dash: each.dash ? [6, 4] : undefined,
      fill: each.fill ? `${style(each.colour)}22` : undefined,
      points: { show: each.points ?? false, size: 7, fill: style(each.colour) },
      spanGaps: true,
      value: shown(chart.y),
    }));
    return {
      width,
      height: width < 480 ? 240 : 280,
      cursor: { points: { size: 7 }, drag: { x: !logX, y: false } },
      legend: { live: width >= 480 },
      scales: {
        x: { time: false },
        y: chart.logY
          ? { distr: 3, log: 10 }
          : { range: (_plot, _min, max) => [0, chart.top ?? (max > 0 ? max * 1.08 : 1)] },
      },
      axes: [
        {
          ...axis,
          values: every(chart.x),
          space: width < 480 ? 56 : 64,
          ...(logX ? { splits: () => chart.splits } : {}),
        },
        {
          ...axis,
          size: 86,
          values: chart.logY
            ? (_plot, values) =>
                values.map((value) =>
                  value !== null && Math.abs(Math.log10(value) % 1) < 1e-9 ? format[chart.y](value) : '',
                )
            : every(chart.y),
        },
      ],
      series: [{ label: chart.xLabel, value: shown(chart.x) }, ...series],
    };
  }

  const drawn = [];
  function draw(chart) {
    const place = document.getElementById(chart.id);
    const entry = drawn.find(({ chart: other }) => other === chart);
    entry?.plot.destroy();
    const width = place.clientWidth;
    const plot = new uPlot(build(chart, width), chart.columns, place);
    if (entry) Object.assign(entry, { plot, width });
    else drawn.push({ chart, plot, width, place });
  }
  for (const chart of charts) draw(chart);
  const redraw = () => {
    for (const chart of charts) draw(chart);
  };
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  new ResizeObserver(() => {
    for (const entry of drawn) if (Math.abs(entry.place.clientWidth - entry.width) > 1) draw(entry.chart);
  }).observe(document.querySelector('main'));
  document.documentElement.dataset.drawn = String(drawn.length);
})();
