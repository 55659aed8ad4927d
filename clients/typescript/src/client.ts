/** The connection: who we are, when to come back, and which subscription a message is for. */

import type { After, ServerMessage } from "./events.js";
import { Subscription, type Handlers, type Target } from "./subscription.js";

/** The sub-protocol. */
export const PROTOCOL = "stepstream.v1";

/** Close codes of the server. */
export const CloseCode = {
  restarting: 1012,
  notAuthenticated: 4001,
  notAllowed: 4003,
  tooSlow: 4008,
  replaced: 4009,
} as const;

/** How the connection is. */
export type State = "connecting" | "open" | "waiting" | "closed";

/** How to connect. One of `key`, `ticket` and `getTicket` is needed. */
export interface Options {
  /** Where: `http://`, `https://`, `ws://` or `wss://`, without a path. */
  url: string;
  /** An API key. For servers: a browser must not have one. */
  key?: string;
  /** A ticket. It is good once, so the client can't come back with it. */
  ticket?: string;
  /** Fetches a new ticket, from your own server; called for each connection. */
  getTicket?: () => Promise<string>;
  /** The name of this client: a newer connection of the same name replaces the older. Default: random. */
  client?: string;
  /** The first wait before it connects again, in ms; doubled up to `maxDelay`. Default: 250. */
  minDelay?: number;
  /** The longest wait, in ms. Default: 15,000. */
  maxDelay?: number;
  /** Told when the connection changes. */
  onState?: (state: State, detail?: { code: number; reason: string }) => void;
  /** Another WebSocket, e.g. of the package `ws`. Default: the global one. */
  WebSocket?: typeof WebSocket;
}

/** The server refused; coming back would not help. */
export class StepstreamError extends Error {
  /** A close code as text, or the code of the server's `error`. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = "StepstreamError";
    this.code = code;
  }
}

/** How many times in a row a refused credential is replaced by a new ticket. */
const MAX_REFUSED = 3;
/** How many heartbeats may be missed before the connection is taken for dead. */
const MISSED_HEARTBEATS = 2.5;

/** A connection that comes back. */
export class Client {
  readonly #options: Options;
  readonly #url: string;
  readonly #name: string;
  readonly #subscriptions = new Map<string, Subscription>();
  #socket: WebSocket | undefined;
  #authenticated = false;
  #everOpen = false;
  #attempt = 0;
  #refused = 0;
  #numbers = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #alive: ReturnType<typeof setTimeout> | undefined;
  #heartbeat = 20_000;
  #pinged = false;
  #closed = false;

  /** @internal Use `connect`. */
  constructor(options: Options) {
    const credentials = [options.key, options.ticket, options.getTicket];
    if (credentials.filter((one) => one !== undefined).length !== 1) {
      throw new TypeError("exactly one of `key`, `ticket` and `getTicket` is needed");
    }
    this.#options = options;
    const url = new URL("/v1/ws", options.url);
    url.protocol = url.protocol.replace("http", "ws");
    this.#url = url.href;
    this.#name = options.client ?? randomName();
    void this.#open();
  }

  /** Follows an execution, a session, or the tenant's events. Default: from the start; a filter: from now. */
  subscribe(target: Target, options: Handlers & { after?: After } = {}): Subscription {
    if (this.#closed) {
      throw new Error("this client is closed");
    }
    const { after, ...handlers } = options;
    this.#numbers += 1;
    const subscription = new Subscription(
      `s${this.#numbers}`,
      target,
      after ?? ("filter" in target ? "now" : "start"),
      handlers,
      (gone) => {
        if (this.#subscriptions.delete(gone.id)) {
          this.#send({ type: "unsubscribe", id: gone.id });
        }
      },
    );
    this.#subscriptions.set(subscription.id, subscription);
    this.#send(subscription.request());
    return subscription;
  }

  /** Ends the connection and all subscriptions. */
  close(): void {
    this.#shut();
  }

  /** Breaks the connection, as a network would; it comes back and resumes. For tests. */
  interrupt(): void {
    const socket = this.#socket;
    if (socket !== undefined) {
      socket.close(3000, "interrupted");
      this.#lost(socket, 1006, "interrupted");
    }
  }

  async #open(): Promise<void> {
    this.#state("connecting");
    let hello: object;
    try {
      const { key, ticket, getTicket } = this.#options;
      const credential =
        key !== undefined ? { key } : { ticket: ticket ?? (await getTicket?.()) };
      hello = { type: "authenticate", ...credential, client: this.#name };
    } catch {
      this.#later(1006, "no ticket could be fetched");
      return;
    }
    if (this.#closed) {
      return;
    }
    const Socket = this.#options.WebSocket ?? globalThis.WebSocket;
    if (Socket === undefined) {
      const message = "there is no WebSocket here: pass one, e.g. of the package `ws`";
      this.#shut(new StepstreamError("no_websocket", message));
      return;
    }
    const socket = new Socket(this.#url, PROTOCOL);
    this.#socket = socket;
    this.#authenticated = false;
    socket.onopen = () => {
      this.#stillAlive(socket);
      socket.send(JSON.stringify(hello));
    };
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket) {
        this.#pinged = false;
        this.#stillAlive(socket);
        this.#take(JSON.parse(String(data)) as ServerMessage);
      }
    };
    socket.onclose = ({ code, reason }) => this.#lost(socket, code, reason);
    // `close` follows, with all that is to be known.
    socket.onerror = () => {};
  }

  #take(message: ServerMessage): void {
    switch (message.type) {
      case "authenticated":
        this.#authenticated = true;
        this.#heartbeat = message.heartbeat_ms;
        this.#attempt = 0;
        this.#refused = 0;
        for (const subscription of this.#subscriptions.values()) {
          if (this.#everOpen) {
            subscription.reconnected();
          }
          this.#send(subscription.request());
        }
        this.#everOpen = true;
        this.#state("open");
        return;
      case "event":
        this.#subscriptions.get(message.subscription)?.event(message.event);
        return;
      case "reset":
        this.#subscriptions.get(message.subscription)?.reset(message.reason);
        return;
      case "lagging":
        this.#subscriptions.get(message.subscription)?.lagging();
        return;
      case "unsubscribed":
        this.#end(message.subscription);
        return;
      case "error":
        if (message.subscription !== undefined) {
          this.#end(message.subscription, new StepstreamError(message.code, message.message));
        }
        return;
      case "subscribed":
      case "pong":
        return;
    }
  }

  #end(id: string, error?: Error): void {
    const subscription = this.#subscriptions.get(id);
    this.#subscriptions.delete(id);
    subscription?.end(error);
  }

  #lost(socket: WebSocket, code: number, reason: string): void {
    if (socket !== this.#socket || this.#closed) {
      return;
    }
    this.#socket = undefined;
    this.#authenticated = false;
    clearTimeout(this.#alive);
    if (code === CloseCode.notAuthenticated && this.#options.getTicket !== undefined) {
      // The session is over, or the ticket came too late: a new one may do.
      this.#refused += 1;
      if (this.#refused < MAX_REFUSED) {
        this.#later(code, reason);
        return;
      }
    }
    const final: number[] = [CloseCode.notAuthenticated, CloseCode.notAllowed, CloseCode.replaced];
    if (final.includes(code) || this.#options.ticket !== undefined) {
      this.#shut(new StepstreamError(String(code), reason || "the connection is over"));
      return;
    }
    this.#later(code, reason);
  }

  /** Connects again after a wait that differs from client to client. */
  #later(code: number, reason: string): void {
    const { minDelay = 250, maxDelay = 15_000 } = this.#options;
    const ceiling = Math.min(maxDelay, minDelay * 2 ** this.#attempt);
    this.#attempt = Math.min(this.#attempt + 1, 16);
    this.#state("waiting", { code, reason });
    this.#timer = setTimeout(() => void this.#open(), ceiling / 2 + (Math.random() * ceiling) / 2);
  }

  /** A browser shows no pings, so silence is answered by a ping of our own, and more silence by a cut. */
  #stillAlive(socket: WebSocket): void {
    clearTimeout(this.#alive);
    this.#alive = setTimeout(() => {
      if (socket !== this.#socket) {
        return;
      }
      if (this.#pinged) {
        this.#pinged = false;
        this.interrupt();
        return;
      }
      this.#pinged = true;
      this.#send({ type: "ping" });
      this.#stillAlive(socket);
    }, this.#heartbeat * (this.#pinged ? MISSED_HEARTBEATS - 1 : 1));
  }

  #send(message: object): void {
    if (this.#authenticated && this.#socket?.readyState === 1) {
      this.#socket.send(JSON.stringify(message));
    }
  }

  #shut(error?: Error): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#alive);
    this.#socket?.close(1000);
    this.#socket = undefined;
    for (const id of [...this.#subscriptions.keys()]) {
      this.#end(id, error);
    }
    const code = error instanceof StepstreamError ? Number(error.code) || 1006 : 1000;
    this.#state("closed", { code, reason: error?.message ?? "" });
  }

  #state(state: State, detail?: { code: number; reason: string }): void {
    this.#options.onState?.(state, detail);
  }
}

/** Connects. It returns at once; subscriptions begin when the connection is there. */
export function connect(options: Options): Client {
  return new Client(options);
}

function randomName(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
