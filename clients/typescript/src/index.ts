/** Follow Stepstream executions over a WebSocket that reconnects and resumes. */

export { Client, CloseCode, connect, PROTOCOL, StepstreamError } from "./client.js";
export type { Options, State } from "./client.js";
export * from "./events.js";
export { Subscription } from "./subscription.js";
export type { Handlers, Item, Target } from "./subscription.js";
