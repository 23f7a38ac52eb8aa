/** The load lab's tests once more, for the build with sanitizers. */
import '../load/fleet.test.ts';
import '../load/traffic.test.ts';
