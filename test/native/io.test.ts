/** The port tests once more, for the build with sanitizers: this folder runs under it (bin/test-native.sh). */
import '../io/doors.test.ts';
import '../io/handover.test.ts';
import '../io/kernel.test.ts';
import '../io/memory.test.ts';
import '../io/refusals.test.ts';
import '../io/filter.test.ts';
import '../io/steering.test.ts';
import '../io/tun.test.ts';
import '../io/udp.test.ts';
