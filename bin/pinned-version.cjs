// Preloaded into npm by bin/setup.mjs. npm leaves out optional packages, such as the native part of a tool, whose `engines`
// exclude the Node that npm runs on. Ours run on the pinned Node whatever npm runs on, so that is what npm is told.
const { dependencies } = require('../package.json');

Object.defineProperty(process, 'version', { value: `v${dependencies.node}` });
