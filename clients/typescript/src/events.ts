/** What comes over the socket, written from the contract. Nothing here does anything. */

/** What an execution is. */
export type Kind = "model" | "function" | "workflow" | "agent";

/** How far an execution is. */
export type Status =
  | "accepted"
  | "admitted"
  | "queued"
  | "running"
  | "paused"
  | "succeeded"
  | "failed"
  | "cancelled"
  | "timed_out";

/** The types of an execution's own events. */
export type ExecutionEventType =
  | "execution.admitted"
  | "execution.queued"
  | "execution.started"
  | "execution.paused"
  | "execution.resumed"
  | "execution.succeeded"
  | "execution.failed"
  | "execution.cancelled"
  | "execution.timed_out";

/** The place of an event. A higher generation at number n replaces everything from n on. */
export interface Position {
  generation: number;
  number: number;
}

/** How far the text of an execution was received. */
export interface OutputPlace {
  fence: number;
  try: number;
  index: number;
}

/** Why something ended without an answer. */
export interface Failure {
  code: string;
  message: string;
  class: string;
  retryable: boolean;
  source: string;
  http_status: number | null;
}

/** Tokens that were used. */
export interface Usage {
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  reasoning_tokens: number;
}

/** Money, in millionths of the currency's unit. */
export interface Cost {
  micros: number;
  currency: string;
}

/** Stands for a value that can't be had. */
export interface ClaimCheck {
  hash: string;
  length: number;
  media_type: string;
}

/** One event of an execution. */
export interface ExecutionEvent extends Position {
  type: ExecutionEventType;
  execution_id: string;
  kind: Kind;
  tenant: string;
  parent_id: string | null;
  /** Milliseconds since the epoch. */
  time: number;
  step: string | null;
  attempt: number | null;
  /** By type; for `execution.succeeded` the answer. */
  data: unknown;
  error: Failure | null;
  usage: Usage | null;
  cost: Cost | null;
  /** Only where large data is no longer kept; `data` is null then. */
  data_claim?: ClaimCheck;
}

/** A piece of output. */
export interface OutputDelta extends OutputPlace {
  type: "output.delta";
  execution_id: string;
  kind: "text" | "reasoning" | "tool_calls";
  choice: number;
  text: string;
}

/** Discard the text so far. */
export interface OutputReset {
  type: "output.reset";
  execution_id: string;
  fence?: number;
  try?: number;
  reason: string;
}

/** The stream of a call is complete. */
export interface OutputDone extends OutputPlace {
  type: "output.done";
  execution_id: string;
}

/** Where a call waits at this moment. It has no number, and is nothing to resume after. */
export interface QueuePlace {
  type: "execution.queued";
  execution_id: string;
  /** 1: it is the next one; 0: it waits no more. */
  position: number;
  /** Milliseconds; `null` as long as there is nothing to judge by. */
  estimated_wait_ms: number | null;
}

/** Anything that a subscription gives. */
export type Event = ExecutionEvent | OutputDelta | OutputReset | OutputDone | QueuePlace;

/** Which events of the tenant a feed has. */
export interface Filter {
  kind?: Kind;
  status?: Status;
  type?: ExecutionEventType;
}

/** Where a subscription begins. */
export type After = "start" | "now" | (Position & { output?: OutputPlace });

/** What the server says. */
export type ServerMessage =
  | { type: "authenticated"; tenant: string; heartbeat_ms: number }
  | { type: "subscribed"; subscription: string }
  | { type: "event"; subscription: string; event: Event }
  | { type: "reset"; subscription: string; reason: string }
  | { type: "lagging"; subscription: string }
  | { type: "unsubscribed"; subscription: string; reason: string }
  | { type: "error"; code: string; message: string; subscription?: string }
  | { type: "pong"; id?: string };

/** Whether an event is one of the execution's own, with a place. */
export function isExecutionEvent(event: Event): event is ExecutionEvent {
  return "number" in event;
}

/** Whether an event says where a call waits. */
export function isQueuePlace(event: Event): event is QueuePlace {
  return event.type === "execution.queued" && "position" in event;
}

/** Whether nothing comes after an event. */
export function isTerminal(event: Event): boolean {
  switch (event.type) {
    case "execution.succeeded":
    case "execution.failed":
    case "execution.cancelled":
    case "execution.timed_out":
      return true;
    default:
      return false;
  }
}
