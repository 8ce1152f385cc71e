import type { AnyProblem, ProblemError, TransportOptions } from "./runtime.js";

export { ProblemError, newId } from "./runtime.js";
export type { AnyProblem, TransportOptions as Options } from "./runtime.js";

/** The client of the API. It opens no connection and keeps no state but the versions that it has written. */
export declare const foldlog: (options: TransportOptions) => Client;

/** The hash of the OpenAPI document from which this package was generated. */
export declare const documentHash: string;

/** Whether an error is the problem of this name; then `error.problem` has its type. */
export declare const is: <N extends Problem["name"]>(
  error: unknown,
  name: N,
) => error is ProblemError<Extract<Problem, { name: N }>>;

/** Plain query objects for TanStack Query, with a key, a function and the cursor of the next page. */
export declare const queries: (api: Client) => Queries;

/** Stored with an event, unchanged, and returned in histories. */
export interface Metadata {
  [key: string]: unknown;
}

/** A version, or a time as a `Date` or in RFC 3339. */
export type Moment = number | Date | string;

export interface Abortable {
  /** Ends the request and every wait between two tries. */
  signal?: AbortSignal | undefined;
}

export interface AppendOptions extends Abortable {
  /** The version at which the aggregate has to be, or one of several; 0: it must not exist; `"exists"`: it must exist. */
  expected?: number | readonly number[] | "exists" | undefined;
}

export interface DryRunOptions extends AppendOptions {
  /** Store nothing, and answer what would change. */
  dryRun: true;
}

export interface GetOptions extends Abortable {
  /** Include every committed event, projected or not. */
  strong?: boolean | undefined;
  /** At least this version. By default, the newest version that this client has written. */
  minVersion?: number | undefined;
  /** The state after this event. */
  version?: number | undefined;
  /** The state at this time. */
  asOf?: Date | string | undefined;
}

export interface PageOptions extends Abortable {
  /** Rows or events per page: 1 to 1000. */
  limit?: number | undefined;
  /** The `next` of the previous page. */
  after?: string | undefined;
}

export interface ListOptions extends PageOptions {
  /** Include every committed event, projected or not. */
  strong?: boolean | undefined;
  /** The list at this time. */
  asOf?: Date | string | undefined;
}

export interface HistoryOptions extends PageOptions {
  /** The oldest event first, or the newest. */
  order?: "asc" | "desc" | undefined;
  /** Only events that changed this field. */
  field?: string | undefined;
  /** Only events whose `metadata.actor` is this text. */
  actor?: string | undefined;
}

export interface PastOptions extends Abortable {
  version?: number | undefined;
  asOf?: Date | string | undefined;
}

export interface DiffOptions extends Abortable {
  from: Moment;
  /** The newest state by default. */
  to?: Moment | undefined;
}

export interface RevertOptions extends AppendOptions {
  /** The version whose state comes back. */
  to: number;
  /** Fields of the row that stay as they are. */
  except?: readonly string[] | undefined;
  /** Stored with each event: the reason, for example. */
  metadata?: Metadata | undefined;
  /** The id of the first event. Pass the same one to send a revert again after its response was lost. */
  eventId?: string | undefined;
  dryRun?: false | undefined;
}

export interface FeedPageOptions extends Abortable {
  after?: string | undefined;
  before?: string | undefined;
  order?: "asc" | "desc" | undefined;
  limit?: number | undefined;
  /** How many seconds to wait for an event: 0 to 20. */
  wait?: number | undefined;
  /** Only events of this domain. */
  domain?: Exclude<keyof Client, keyof Shared> | undefined;
  /** Only events of these types, by name or type id. */
  types?: readonly (string | number)[] | undefined;
}

export interface FeedOptions extends Omit<FeedPageOptions, "order" | "wait"> {
  /** The newest events first, back to the first one. */
  newestFirst?: boolean | undefined;
  /** Wait for new events at the end of the feed: true. With false, the loop ends there. */
  follow?: boolean | undefined;
}

export type FeedEvent = Feed["result"][number];
export type HistoryEvent = History["result"][number];
export type Difference = Differences["result"][number];

export interface ActivityOptions extends Abortable {
  /** The beginning of the first interval, as `2026-11-26T08:00:00Z`. */
  from: string;
  /** The end of the last interval; now if it is absent. */
  to?: string | undefined;
  /** How many intervals: 1 to 60, 60 if it is absent. */
  intervals?: number | undefined;
}

/** A loop over the feed. */
export interface FeedReader extends AsyncGenerator<FeedEvent, void, undefined> {
  /**
   * Where to continue: pass it as `after` (as `before` with `newestFirst`) to a later loop. Read it after an event has been handled.
   * It moves page by page, so a loop that continues there may see events of a page again, and skips none.
   */
  cursor: string | null | undefined;
}

export interface DomainClient<Event, Row, Filter, Page, DryRun> {
  /** Shows what an append would do. */
  append(events: Event | readonly Event[], options: DryRunOptions): Promise<DryRun>;
  /** Appends an event. */
  append(event: Event, options?: AppendOptions): Promise<EventAppended>;
  /** Appends several events: all of them, or none. */
  append(events: readonly Event[], options?: AppendOptions): Promise<EventAppended[]>;

  /** Shows what a revert would do. */
  revert(id: string, options: Omit<RevertOptions, "dryRun"> & DryRunOptions): Promise<DryRun>;
  /** Appends the events that bring an aggregate back to an earlier state. */
  revert(id: string, options: RevertOptions): Promise<AggregateReverted>;

  /** The row. It includes what this client has appended. */
  get(id: string, options?: GetOptions): Promise<Row>;

  /** One page of the rows. */
  page(filter?: Filter & Pick<PageOptions, "limit" | "after">, options?: ListOptions): Promise<Page>;
  /** All rows, page by page, in the order of their ids. */
  list(filter?: Filter & Pick<PageOptions, "limit" | "after">, options?: ListOptions): AsyncGenerator<Row, void, undefined>;

  /** One page of the history. */
  historyPage(id: string, options?: HistoryOptions): Promise<History>;
  /** All events of the aggregate: who changed what, and when. */
  history(id: string, options?: HistoryOptions): AsyncGenerator<HistoryEvent, void, undefined>;

  /** Two states, field by field. */
  diff(id: string, options: DiffOptions): Promise<Diff>;
  /** Who last set each field. */
  blame(id: string, options?: PastOptions): Promise<Blame>;
  /** Which events made the row, which wait, and why. */
  explain(id: string, options?: Abortable): Promise<Explanation>;
}

export interface EventsClient {
  /** Shows what an append would do. */
  append(events: EventOfAnyDomain | readonly EventOfAnyDomain[], options: DryRunOptions): Promise<DryRunOfAnyDomain>;
  /** Appends an event of any domain. */
  append(event: EventOfAnyDomain, options?: AppendOptions): Promise<EventAppended>;
  /** Appends events of any domains: all of them, or none. */
  append(events: readonly EventOfAnyDomain[], options?: AppendOptions): Promise<EventAppended[]>;

  /** One page of the feed. */
  feedPage(options?: FeedPageOptions): Promise<Feed>;
  /** About how many events of the whole log were appended over time, in intervals of equal length. */
  activity(options: ActivityOptions): Promise<Activity>;
  /** All events in the order of the log, from a cursor on, and then new ones as they are committed. */
  feed(options?: FeedOptions): FeedReader;
}

export interface ProjectionsClient {
  /** The state of all projections. */
  all(options?: Abortable): Promise<Projections>;
  /** The state of one projection, and what each verb has last answered for it. */
  get(name: string, options?: Abortable): Promise<ProjectionReport>;
  /**
   * Runs a verb, such as `{ retry: "users" }`. A `skip`, a `reproject` and a `retry` of one aggregate are sent once: a second one would
   * find nothing to skip, begin the next generation, or find nothing parked.
   */
  operate(verb: Verb, options?: Abortable): Promise<VerbDone | VerbHandedOver>;
  /** One page of the aggregates whose next event cannot be folded. */
  parkedPage(name: string, options?: PageOptions): Promise<Parked>;
  parked(name: string, options?: PageOptions): AsyncGenerator<ParkedAggregate, void, undefined>;
  /** One page of the events that operators have skipped. */
  skippedPage(name: string, options?: PageOptions): Promise<Skipped>;
  skipped(name: string, options?: PageOptions): AsyncGenerator<EventSkipped, void, undefined>;
  /** One page of what the last verification has found. */
  differencesPage(name: string, options?: PageOptions): Promise<Differences>;
  differences(name: string, options?: PageOptions): AsyncGenerator<Difference, void, undefined>;
}

export interface Shared {
  events: EventsClient;
  projections: ProjectionsClient;
  /** Whether process and database are up, and how far the projections are. */
  health(options?: Abortable): Promise<Health>;
  /** Whether the API still has the document from which this package was generated. */
  isCurrent(options?: Abortable): Promise<boolean>;
}

/** `useQuery(queries(api).users.row(id))`, `useInfiniteQuery(queries(api).users.list({ … }))`. */
export interface DomainQueries<_Event, Row, Filter, Page extends { next: string | null }, _DryRun> {
  row(id: string, options?: Omit<GetOptions, "signal">): {
    queryKey: readonly unknown[];
    queryFn(context: { signal: AbortSignal }): Promise<Row>;
  };
  list(filter?: Filter & Pick<PageOptions, "limit">, options?: Omit<ListOptions, "signal" | "after">): {
    queryKey: readonly unknown[];
    initialPageParam: string | undefined;
    queryFn(context: { pageParam: string | undefined; signal: AbortSignal }): Promise<Page>;
    getNextPageParam(page: Page): string | undefined;
  };
}
