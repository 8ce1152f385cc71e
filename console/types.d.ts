import type { TemplateResult } from "./vendor/lit-html.js";

export interface Route {
  page: string;
  domain?: string; id?: string; version?: number | undefined; part?: string | undefined; name?: string | undefined;
  query: Record<string, string>;
  /** Which page this is, without version and query: while it stays the same, data and focus stay. */
  key: string;
  hash: string;
}

export interface Field {
  name: string;
  type: string | undefined; format: string | undefined; choices: unknown[] | undefined;
  required: boolean; nullable: boolean;
  /** Only for writing: the API never sends it. */
  secret: boolean;
  description: string | undefined;
  schema: any;
}
export interface EventType { name: string; type_id: number; description: string | undefined; fields: Field[]; example: any }
export interface Domain {
  name: string; description: string | undefined;
  columns: Field[]; filters: string[]; events: EventType[];
  /** Columns that no response has, because they are secrets. */
  hidden: string[];
  /** The column that names a row to people. */
  title: string | undefined;
}
export interface Schema { domains: Domain[]; secured: boolean; hash: string | undefined; version: string | undefined }

export interface Claims { sub: string | undefined; iss: string | undefined; expires: number | undefined; scopes: Set<string> }

export interface RequestOptions { query?: Record<string, unknown> | undefined; body?: unknown; headers?: Record<string, string>; signal?: AbortSignal | undefined; tries?: number }
export interface Api {
  baseUrl: string;
  get(path: string, query?: Record<string, unknown>, options?: RequestOptions): Promise<any>;
  post(path: string, body: unknown, options?: RequestOptions): Promise<any>;
}
/** One panel of a page: what it shows, and why it could not be read now. */
export interface Panel<T> { value?: T; error?: unknown }

export interface Dialog {
  title: string;
  /** Everything between the title and the end: `<section>`s and a `<footer>`. */
  view(ctx: Ctx): unknown;
  /** Whether a request is under way: then the user cannot close it. */
  busy?(): boolean;
  /** After it is closed, in whatever way. */
  closed?(): void;
}

export interface State {
  config: { api?: string; issuer?: string; client_id?: string; scope?: string; audience?: string; read_only?: boolean };
  schema: Schema;
  route: Route;
  /** What the page's `load` returned; undefined until then. */
  data: any;
  error: unknown;
  loading: boolean;
  loadedAt: number | undefined;
  /** What only this page remembers between draws; empty at the start of a page. */
  ui: Record<string, any>;
  dialog: Dialog | null;
  said: string;
  /** Parked aggregates over all projections, for the navigation; undefined if it is not known. */
  parked: number | undefined;
  /** What was last read of the projections, whichever page has read it; see parts/status.js. */
  status: { projections: Record<string, any>; readAt: number } | undefined;
}

export interface Ctx {
  state: State; route: Route; schema: Schema; api: Api;
  data: any; ui: Record<string, any>;
  /** The domain of the route; undefined if there is none. */
  domain: Domain | undefined;
  /** Goes to an address. With `replace` the browser's history gets no entry. */
  go(hash: string, options?: { replace?: boolean }): void;
  /** Changes `ui` and draws. */
  set(changes: Record<string, any>): void;
  /** Draws again, after `data` or a dialog's own state was changed. */
  draw(): void;
  /** Loads the page's data again, now. */
  reload(): Promise<void>;
  /** Tells a result in the status line, also to screen readers. */
  say(text: string): void;
  open(dialog: Dialog): void;
  close(): void;
  /** Whether the tab is hidden, or without input for 15 minutes: then nothing is read. */
  resting: boolean;
  /** Whether a control that needs these scopes is shown: the token has them, and a console that only reads needs no other than `…:read`. */
  can(...scopes: string[]): boolean;
  /** The domains that the token may read, and whether these are all. */
  readable: string[]; readsAll: boolean;
  /** Whether the token has all these scopes; true if the server requires none. */
  has(...scopes: string[]): boolean;
  /** After a sign-in; `keep`: until the tab is closed. */
  signedIn(token: string, keep?: boolean): void;
  signOut(): void;
}

/** `run` returns false if it does nothing here: then the browser handles the key. */
export interface Key { key: string; label: string; run(ctx: Ctx): unknown }

export interface Page {
  title(ctx: Ctx): string;
  /** Links before the title in the bar at the top. */
  crumbs?(ctx: Ctx): { text: string; href: string }[];
  load(ctx: Ctx, signal: AbortSignal): Promise<any>;
  view(ctx: Ctx): unknown;
  keys?: Key[];
  /** false: no timed refresh. */
  live?: boolean | ((ctx: Ctx) => boolean);
  /** Milliseconds between refreshes while the user is active; 5000 if absent. */
  every?: number;
  /** When the page is left. */
  leave?(ctx: Ctx): void;
}
export type { TemplateResult };
