/** One subscription: what it follows, how far it is, and what waits for whoever reads it. */

import {
  isExecutionEvent,
  isQueuePlace,
  type After,
  type Event,
  type Filter,
  type OutputPlace,
  type Position,
} from "./events.js";

/** What is followed: one of the three. */
export type Target =
  | { execution: string }
  | { session: string }
  | { filter: Filter };

/** Callbacks, for those who don't iterate. */
export interface Handlers {
  /** Each event, once and in order. */
  onEvent?: (event: Event) => void;
  /** Forget the events so far: history is gone, or there is none to resume by. */
  onReset?: (reason: string) => void;
  /** The server dropped what this client was too slow for; it goes on by itself. */
  onLagging?: () => void;
  /** Nothing comes any more. With an error: it ended badly. */
  onEnd?: (error?: Error) => void;
}

/** What an iteration gives: an event, or word that the events so far are to be forgotten. */
export type Item = Event | { type: "reset"; reason: string };

/** A subscription as its owner sees it. */
export class Subscription implements AsyncIterable<Item> {
  /** Its name on the socket. */
  readonly id: string;
  readonly #target: Target;
  readonly #handlers: Handlers;
  readonly #stop: (subscription: Subscription) => void;
  #after: After;
  #position: Position | undefined;
  #output: OutputPlace | undefined;
  #items: Item[] = [];
  #wake: (() => void) | undefined;
  #over = false;
  #error: Error | undefined;
  #iterated = false;

  /** @internal */
  constructor(
    id: string,
    target: Target,
    after: After,
    handlers: Handlers,
    stop: (subscription: Subscription) => void,
  ) {
    this.id = id;
    this.#target = target;
    this.#after = after;
    this.#handlers = handlers;
    this.#stop = stop;
    if (typeof after === "object") {
      this.#position = { generation: after.generation, number: after.number };
      this.#output = after.output;
    }
  }

  /** The place of the last event: what a later subscription resumes after. */
  get position(): After {
    if (this.#position === undefined && this.#output === undefined) {
      return this.#after;
    }
    const place = this.#position ?? { generation: 0, number: 0 };
    return this.#output === undefined ? place : { ...place, output: this.#output };
  }

  /** Whether nothing comes any more. */
  get ended(): boolean {
    return this.#over;
  }

  /** Ends it. An iteration that is under way ends as well. */
  stop(): void {
    if (!this.#over) {
      this.#stop(this);
      this.end();
    }
  }

  /** Each event once and in order, and `reset`; it ends when the execution does. One reader at a time. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Item, void, void> {
    if (this.#iterated) {
      throw new Error("this subscription is being read already");
    }
    this.#iterated = true;
    try {
      for (;;) {
        const item = this.#items.shift();
        if (item !== undefined) {
          yield item;
        } else if (this.#over) {
          if (this.#error !== undefined) {
            throw this.#error;
          }
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      this.stop();
    }
  }

  /** @internal The message that begins it, or goes on with it. */
  request(): object {
    const isFilter = "filter" in this.#target;
    const after = isFilter ? "now" : this.position;
    return { type: "subscribe", id: this.id, ...this.#target, after };
  }

  /** @internal The connection was cut: what can't be resumed is said. */
  reconnected(): void {
    if ("filter" in this.#target) {
      this.reset("reconnected");
    }
  }

  /** @internal */
  event(event: Event): void {
    if (isExecutionEvent(event)) {
      if (!("filter" in this.#target) && !this.#advance(event)) {
        return;
      }
    } else if (event.type === "output.reset") {
      this.#output = undefined;
    } else if (!isQueuePlace(event)) {
      this.#output = { fence: event.fence, try: event.try, index: event.index };
    }
    this.#give(event);
    this.#handlers.onEvent?.(event);
  }

  /** @internal */
  reset(reason: string): void {
    this.#position = undefined;
    // After this whatever comes is what there is; were it cut before that, it begins with all there is.
    this.#after = "start";
    this.#give({ type: "reset", reason });
    this.#handlers.onReset?.(reason);
  }

  /** @internal */
  lagging(): void {
    this.#handlers.onLagging?.();
  }

  /** @internal */
  end(error?: Error): void {
    if (this.#over) {
      return;
    }
    this.#over = true;
    this.#error = error;
    this.#wake?.();
    this.#handlers.onEnd?.(error);
  }

  /** Whether an event is new. The server drops copies; this keeps the promise should one come through. */
  #advance({ generation, number }: Position): boolean {
    const last = this.#position;
    const old =
      last !== undefined &&
      (generation < last.generation || (generation === last.generation && number <= last.number));
    if (old) {
      return false;
    }
    this.#position = { generation, number };
    return true;
  }

  #give(item: Item): void {
    // Those who use callbacks don't iterate, and nothing may pile up for them.
    if (this.#handlers.onEvent === undefined || this.#iterated) {
      this.#items.push(item);
      this.#wake?.();
    }
  }
}
