/** Whole shards that are killed, once more, for the build with sanitizers. */
import '../datapath/shard-death.test.ts';
