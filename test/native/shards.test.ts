/** Whole shards that are killed, and those behind a filter, once more, for the build with sanitizers. */
import '../datapath/shard-death.test.ts';
import '../datapath/socket-filter.test.ts';
