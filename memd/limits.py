"""Every bound of memd, named, with its reason. Over a bound is refused with a clear error, never clamped.

``docs/limits.md`` is generated from this file (``python -m memd.limits``): one constant a line, its comment is its reason.
"""

from __future__ import annotations

MEGABYTE = 1024 * 1024  # of everything that is said in MB
SECOND_US = 1_000_000  # the unit of stored times
HOUR_US = 3_600 * SECOND_US  # the same
DAY_US = 24 * HOUR_US  # the same

# -- names
MAX_NAMESPACE_BYTES = 128  # a label, not a document
MAX_ID_BYTES = 256  # fits every UUID, ULID, URN and path-like id in use
MAX_NAME_BYTES = 128  # roles, tool names
MAX_REQUEST_ID_BYTES = 128  # a UUID with room for a prefix
MAX_REASON_BYTES = 1_024  # one paragraph of why

MAX_BACKUP_NAME_BYTES = 64  # a date with room for a word

# -- content
MAX_CONTENT_BYTES = 64 * 1024  # a long page; longer texts are documents, to be split by the caller
MAX_EVENT_BYTES = 64 * 1024  # verbose tool output beyond it is refused or kept as an extract
MAX_RAW_EVENT_BYTES = 2 * 1024 * 1024  # what OVERFLOW_EXTRACT accepts before cutting
EVENT_EXTRACT_BYTES = 8 * 1024  # the most of an extract
TOOL_OUTPUT_BYTES = 8 * 1024  # a longer tool output is kept as an extract: whole it would be a third of working memory
TOOL_EXTRACT_TOKENS = 800  # of such an extract: a tenth of working memory
EXTRACT_LINE_CHARS = 200  # a longer line of a tool output is cut into pieces of this size: it is data, not a line
EXTRACT_LINES = 400  # looked at from each end of a long tool output, beside those with telling words anywhere in it
MAX_QUERY_BYTES = 8 * 1024  # a query is a question, not a transcript
MAX_METADATA_KEYS = 64  # each is an index column
MAX_METADATA_BYTES = 16 * 1024  # as JSON
MAX_METADATA_LIST = 64  # elements of one list value
MAX_TAGS = 32  # labels, not an inverted index
MAX_TAG_BYTES = 128  # a label
MAX_LINKS = 64  # event ids a memory points at
MAX_WINDOWS = 16  # embeddings of one memory: 16 x 256 word pieces with overlap
MAX_CHECKPOINT_BYTES = 3 * 1024 * 1024  # fits the 4 MiB message with room for the envelope

# -- requests
MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # gRPC's own default, each way
MAX_HEADER_BYTES = 8 * 1024  # gRPC metadata of a call: a token and tracing ids
MAX_EVENTS_PER_OBSERVE = 256  # a long turn with its tool calls many times over
MAX_MEMORIES_PER_REMEMBER = 256  # bounds the time one call holds the model
MAX_IDS_PER_FORGET = 1_000  # one bounded transaction; more are forgotten by filter or scope
MAX_TASKS_PER_FORGET = 256  # as above
DEFAULT_LIMIT = 5  # what a prompt wants when nobody says how many
MAX_LIMIT = 1_000  # memories of one Recall: beyond it list and page
DEFAULT_MAX_EPISODES = 3  # recent context is a reminder, not the transcript
DEFAULT_TOKEN_BUDGET = 4_000  # a small part of any context window in use
MIN_TOKEN_BUDGET = 64  # below it not even one heading and one line fit
MAX_TOKEN_BUDGET = 1_000_000  # the longest context windows there are
DEFAULT_CANDIDATES = 50  # the best 50 of each side lose no gold evidence on real conversations
MAX_CANDIDATES = 1_000  # each is scored exactly
DEFAULT_PAGE_SIZE = 100  # fits one message for memories of usual size
MAX_PAGE_SIZE = 1_000  # bounds the time one page takes
MAX_PAGE_TOKEN_BYTES = 1_024  # a cursor and its digest
MAX_FILTER_NODES = 64  # a filter is evaluated over every visible memory
MAX_FILTER_DEPTH = 8  # filters are evaluated recursively
MAX_FILTER_VALUES = 256  # constants of one filter, all lists together
DEFAULT_DEADLINE_S = 10.0  # a call without a deadline gets this one
MAX_DEADLINE_S = 10.0  # the server's cap for unary calls
MAX_BULK_DEADLINE_S = 120.0  # Remember, Forget and Verify embed or scan in bulk
MAX_CONCURRENT_STREAMS = 1_024  # a connection; gRPC counts streams past their end, so 100 refused 64 callers
MAX_CONCURRENT_CALLS = 1_024  # the process; over it RESOURCE_EXHAUSTED with a retry hint
MAX_STREAMS = 128  # the process, of the calls: a watch holds its place for hours, and calls must find one
MAX_STREAM_S = 86_400.0  # of one stream; a watch is then begun anew where it ended
WATCH_RECHECK_S = 30.0  # a watch that hears nothing keeps its namespace among those the replica follows
EXPORT_CHUNK_BYTES = 256 * 1024  # of an export: few messages, and little held for a slow reader
EXPORT_BATCH = 32  # memories read at a time, with all their earlier states: 43 MB of the largest there can be
MAX_EXPORT_S = 900.0  # eight million memories; its snapshot keeps the log of the store from being emptied so long
MAX_EXPORT_LINE_BYTES = 1024 * 1024  # the longest memory, every byte of it escaped, with 16 embeddings
IMPORT_BATCH = 64  # memories of one commit of an import: other writers wait for it, some 20 ms
STREAM_STALL_S = 30.0  # a reader that takes nothing, or a sender that sends nothing, for this long is cut

# -- time
MIN_TTL_US = SECOND_US  # shorter than a retry it would be gone before it is seen
MAX_TTL_US = 10 * 365 * DAY_US  # ten years: longer means "never", which is said by leaving it unset
REQUEST_ID_TTL_US = DAY_US  # how long a retry finds its first reply
MIN_TIME_US = -62_135_596_800 * SECOND_US  # year 1, protobuf's own range
MAX_TIME_US = 253_402_300_799 * SECOND_US  # year 9999

# -- stock
MAX_WORKING_ITEMS = 1_000  # working memory is what fits a context window
MAX_TIER_ITEMS = 1_000_000_000  # of [tiers.*] max_items; more is "unbounded", which is said by 0
MAX_TIER_TOKENS = 1_000_000  # of [tiers.*] max_tokens: the longest context windows there are
MAX_OFFERED_PROCEDURES = 3  # a Recall suggests ways to do it, not a manual
MAX_NAMESPACES_LOADED = 16_384  # indexes kept in memory; the one unused for longest goes first
MAX_SEQ = 2**63 - 1  # change numbers are signed 64-bit integers in every store
MAX_VERSION = 2**31 - 1  # of one memory or procedure, and counts of outcomes: Postgres keeps them as 32-bit integers
MAX_EPOCH = 2**31 - 1  # epochs are drawn at random: two stores have the same one with this chance
MAX_CHANGE_LOG = 100_000  # changes of a namespace kept for replicas; a replica further behind reloads
MAX_CHANGE_BATCH = 512  # lines of the change log handed to a replica at a time: their rows are held in memory
MAX_CHANGE_ROUND = 64  # namespaces asked about together: each still gets several lines of MAX_CHANGE_BATCH
MAX_NAMESPACES_FOLLOWED = 1_024  # kept by a replica: each poll asks for all; the one unused for longest goes first
MAX_AUDIT_ROWS = 100_000  # of the whole store, oldest go first
TOMBSTONE_TTL_US = 3_650 * DAY_US  # how old a backup may be and still not bring back what was forgotten
RESERVED_VERSION_TTL_US = 365 * DAY_US  # how long a deleted task's version number stays reserved
MAX_REVISIONS = 20  # earlier states of one memory
MAX_SESSIONS_PER_USER = 10_000  # of a user and agent in a namespace; ended ones go with their TTL
DEFAULT_CHECKPOINT_HISTORY = 5  # enough to step back over a bad save or two
MAX_CHECKPOINT_HISTORY = 100  # times 3 MiB of state for every task
DEFAULT_CHECKPOINT_TTL_US = HOUR_US  # an interrupted task is resumed soon or not at all; every save renews it
MIN_LEASE_US = SECOND_US  # shorter than a slow reply it would be over before it is held
DEFAULT_LEASE_US = 60 * SECOND_US  # most side effects are done by then; longer ones renew
MAX_LEASE_US = HOUR_US  # how long a crashed worker can keep a step from everybody; longer ones renew
MAX_STEP_RESULT_BYTES = 1024 * 1024  # what a step returns to the agent; larger things are stored by the step itself
MAX_STEPS_PER_TASK = 10_000  # a task is a plan, not a queue
DEFAULT_STEP_TTL_US = 30 * DAY_US  # since the last change of a task's steps; then a replay would run it all again
STEP_PAGE_BYTES = 3 * 1024 * 1024  # results in one page of steps: fits the message with room for the envelope
MAX_PROCEDURE_VERSIONS = 100  # of one key; the oldest go
MAX_KEPT_OUTCOMES = 256  # of one key, with their reasons and ids: a report is repeated soon; counts are kept for ever
MAX_TOKENS_IN_CONFIG = 1_000  # entries of a token file
MAX_TOKEN_FILE_BYTES = 1024 * 1024  # read whole at start and on SIGHUP
MAX_CONFIG_FILE_BYTES = 1024 * 1024  # read whole at start
MAX_MANIFEST_BYTES = 64 * 1024  # of a backup; it has a few hundred bytes
MAX_MODEL_FILE_BYTES = 100_000_000  # the authentic weights have 90,868,376
MODEL_DOWNLOAD_TIMEOUT_S = 600.0  # `memd model install` on a slow line

# -- namespaces that Postgres itself searches
COMMON_TERM_MEMORIES = 1_000  # words that so many memories have are counted by a job, rarer ones by each query
MAX_POSTINGS_A_QUERY = 50_000  # looked through for a query's words, those that tell most first: tens of milliseconds
HNSW_EF_SEARCH = 100  # candidates a walk keeps: twice what each side wants
HNSW_MAX_SCAN_TUPLES = 200_000  # how far a filter that lets few through makes the walk go on
HNSW_BUILD_S = 6 * 3_600.0  # an index over ten million vectors
SEARCH_TABLE_BATCH = 1_000  # memories whose terms are made at a time: their texts are held in memory
SEARCH_COUNT_LEASE_US = 10 * 60 * SECOND_US  # counting the words of a few million memories
SEARCH_COUNT_EVERY_US = 5 * 60 * SECOND_US  # a few new memories move the ranking by nothing that can be seen
SEARCH_MOVE_INTERVAL_S = 1.0  # how soon a setting is followed: one short query
SEARCH_MOVE_LEASE_US = 30 * SECOND_US  # a build goes on this long after its daemon fell
SEARCH_DROP_AFTER_US = 10 * 60 * SECOND_US  # all daemons have loaded their indexes by then, or scan while they do

# -- servers
DEFAULT_REPLICA_POLL_S = 0.25  # between two looks at what changed in Postgres, without hints
MIN_REPLICA_POLL_S = 0.01  # more often would load Postgres for nothing: hints come sooner
MAX_REPLICA_POLL_S = 30.0  # half of the default max_stale
DEFAULT_MAX_STALE_S = 60.0  # reads go on that long without Postgres: so long may a Forget take to bind a sidecar
MIN_MAX_STALE_S = 1.0  # a failover takes longer than less
MAX_MAX_STALE_S = 86_400.0  # what is older than a day is another truth
REPLICA_LAGS_AFTER_S = 1.0  # rows not known to be current for this long are answered from as DEGRADED: polls were lost
REPLICA_HINTS_S = 0.02  # so long a hint may wait for others: every write anywhere gives one to every replica
MAX_REPLICA_HINTS_S = 0.25  # the same on a busy machine: then the poll would find it
REPLICA_LOADS = 2  # namespaces loaded at the same time; each holds a connection and a snapshot of Postgres
REPLICA_NOTE_S = 5.0  # how precisely a restarted daemon without Postgres knows how old its rows are
REPLICA_VERIFY_ATTEMPTS = 5  # rows are compared with Postgres at one change number; writers may be in between
POSTGRES_START_WAIT_S = 30.0  # a start waits so long for Postgres: it may be failing over
POSTGRES_START_PAUSE_S = 0.25  # between two attempts to reach it
REPLICA_WAIT_S = 1.0  # a first use of a namespace waits so long for its rows; a larger one is loaded behind the answers

# -- summarizers
SUMMARIZER_TIMEOUT_S = 20.0  # of one summary, with all tries: nobody waits for it but its own session
MIN_SUMMARIZER_TIMEOUT_S = 0.1  # no model is quicker
MAX_SUMMARIZER_TIMEOUT_S = 300.0  # a large model on one core
SUMMARIZER_TRIES = 3  # of one summary, against a service that says it is busy
SUMMARIZER_RETRY_FIRST_S = 0.5  # doubled with every try; a service's own Retry-After counts if it is longer
MAX_SUMMARY_REPLY_BYTES = 1024 * 1024  # of an HTTP reply; a summary has a few kilobytes
SUMMARIZER_BREAKER_FAILURES = 3  # in a row, then the service is left alone
SUMMARIZER_BREAKER_S = 60.0  # for this long, and summaries are extracts
SUMMARIZER_INPUT_TOKENS = 32_000  # of events in one request; more is extracted before it is sent, and paid for
MAX_SUMMARIZER_CHARGE = 1_000_000_000  # tokens one reply may say it cost: more is no answer of a model

# -- lifecycle
PROMOTE_INTERVAL_S = 0.25  # "remember that" is to be known in every other session within a second
DIGEST_INTERVAL_S = 2.0  # between two looks for sessions whose digest is due
DIGEST_EVENTS = 20  # events after which a live session's digest is made anew: so much a crash of everything can cost
DIGEST_IDLE_US = 300 * SECOND_US  # a session that rests for so long may be over
DIGEST_TOKENS = 200  # of one digest: a reminder of a session, not the session
DIGESTS_RECALLED = 2  # the user's last sessions; older ones are in the memories that came of them
CONSOLIDATE_SESSIONS = 64  # looked at in one step: the next namespace's turn comes soon
CONSOLIDATE_EVENTS = 256  # read at a time of one session: they are held in memory
CONSOLIDATE_GRACE_US = DAY_US  # how long the sweep spares expired episodes nobody has consolidated yet
CONSOLIDATE_DRAIN_STEPS = 1_000  # before one sweep: 64,000 sessions; what is left has its turn before the next one
CONSOLIDATE_LEASE_US = 10 * SECOND_US  # a step takes less; after a crash somebody else goes on no later than this
SWEEP_INTERVAL_S = 30.0  # expired rows are out of sight at once: only their bytes wait for it
RETENTION_INTERVAL_S = 10.0  # between two runs; one look at an index where no namespace has a policy
RETENTION_NAMESPACES = 64  # that have their turn before the job looks whether there are more
RETENTION_ROWS = 256  # memories of one namespace deleted in one commit: other writers wait for it, some 20 ms
RETENTION_ROUNDS = 16  # pages of namespaces in one run: 4,000 memories of one large namespace, then others' jobs
RETENTION_LEASE_US = 30 * SECOND_US  # a page takes seconds at most; after a crash another daemon goes on
RETENTION_SAMPLE = 100  # ids that a dry run names
CHECKPOINTS_INTERVAL_S = 60.0  # every save prunes its own task: only a lowered bound waits for the job
CHECKPOINT_TASKS = 256  # looked at in one read
CHECKPOINT_PAGES = 16  # of tasks in one run: 4,096 a minute
CHECKPOINTS_LEASE_US = 60 * SECOND_US  # a run takes seconds at most; after a crash another daemon goes on
COMPACT_INTERVAL_S = 60.0  # free space is in nobody's way: the next rows take it
COMPACT_SHARE = 0.25  # of a file that is free, before any of it is given back
COMPACT_LEFT = 0.05  # of a file that stays free: the next rows would only make it longer again
COMPACT_MIN_BYTES = 4 * MEGABYTE  # less is not worth a look
COMPACT_STEP_BYTES = 512 * 1024  # moved in one commit: other writers wait for it, some 7 ms
COMPACT_PAUSE_S = 0.05  # between two of them: writers come first
COMPACT_STEPS = 64  # in one run: 32 MB a minute
MAX_RETENTION_COUNT = 1_000_000_000  # more is "unbounded", which is said by leaving it unset
NEAR_DUPLICATE_COSINE = 0.92  # a restatement, not a second thing about the same subject
DECAY_HALF_LIFE_US = 30 * DAY_US  # since a memory was recalled or written: half of what decay takes is taken then
RECALLS_INTERVAL_S = 60.0  # between two writes of what was recalled: so much of it a crash may lose
RECALLS_WAITING = 4_096  # recalls noted between two writes; with more the oldest are lost
RECALLS_NOTED = 32  # memories of one recall that are noted: the best ones are what was asked for
MERGE_INTERVAL_S = 30.0  # between two looks for memories that say the same: nobody waits for it
MERGE_AFTER_US = 60 * SECOND_US  # a memory is left alone for so long: whoever stored it may still be at it
MERGE_COSINE = 0.9  # of two memories whose words are the same but for fillers; punctuation alone can move it by that
MERGE_MAX_CHARS = 2_000  # nobody says more in the same words again
MERGE_CANDIDATES = 8  # found by their words; those with the same words are the first ones
MERGE_ROWS = 256  # memories looked at in one namespace in one step, some 0.1 s
MERGE_NAMESPACES = 8  # in one step: the others have their turn in the next ones
MERGE_SAMPLE = 100  # pairs that a dry run names
NOVEL_COSINE = 0.5  # nothing that is known is nearer to what is new: of another subject
RELATE_EVENTS = 128  # newest events of a session among which links and repeats are looked for: one read
RELATE_PATIENCE = 32  # sessions waiting for that look; promotion waits for no more: some 0.1 s
RELATE_FAILING = 64  # names by which open failures of a session are known; of more it is found at the next look
RELATE_SESSIONS = 8_192  # sessions of which is known what they wait for; of another one all is looked for
RELATE_SAID = 32  # things the user said that are counted for a session: what is said again is said again soon
RELATE_QUEUE = 1_024  # sessions waiting for that look; one over it is looked at after its next Observe
RESOLVE_REACH = 30  # events after a failure in which somebody may say that it is fixed without naming it
SAID_TIMES = 3  # that often it is said with emphasis
SHARED_BODY_CHARS = 1_024  # shorter tool outputs are not worth a reference
SHARED_BODY_SHARE = 0.25  # of an output, differences from a later one: with more it is another output
SHARED_BODY_TRIES = 8  # later outputs of the tool that one is compared with
DIGESTS_ASKED_AT_ONCE = 4  # digests that a hosted model is asked for side by side: as many as compressions
DIGEST_QUEUE = 64  # sessions that wait for them; of more the digests are extracts, made at once
DIGEST_PATIENCE_S = 30.0  # how long a session waits for the model; then its digest is an extract
PROMOTE_AGAIN_S = 0.05  # between two steps while there is more to promote: others have their turn on the event loop
DIGEST_AGAIN_S = 0.5  # between two steps while more digests are due; a step of 64 takes about two seconds
CONSOLIDATE_COUNTED = 256  # sessions in one read when it is counted how many wait
CONSOLIDATE_COUNTS = 4  # such reads: with more than 1,024 waiting it is said that so many do
SWEEP_AGAIN_S = 1.0  # between two steps while there is more to sweep: ten times as fast as 200 events/s expire
DIGEST_REST_S = 60.0  # a namespace that could not store what a model wrote is spared from it, and its cost, for so long

# -- compression of working memory
DEFAULT_COMPRESS_AT = 0.8  # of the working tokens: the summary is there before the budget is full
MIN_COMPRESS_AT = 0.1  # less would compress what is hardly there
MAX_COMPRESS_AT = 1.0  # more could only be dropped
DEFAULT_COMPRESS_KEEP = 5  # the newest items stay word for word: what the next answer is about
MAX_COMPRESS_KEEP = 100  # beyond it there is little left to compress
DEFAULT_COMPRESS_TO = 0.2  # of the tokens: more than 60 % of the facts are still there (docs/benchmarks.md)
MIN_COMPRESS_TO = 0.02  # a line of a page
MAX_COMPRESS_TO = 0.5  # more is hardly a summary
DEFAULT_SUMMARY_SHARE = 0.25  # of the working tokens, all summaries together: the rest is for what happens now
MIN_SUMMARY_SHARE = 0.02  # a few sentences
MAX_SUMMARY_SHARE = 0.5  # with more, compression would compress summaries
MIN_SUMMARY_TOKENS = 64  # shorter ones say nothing; less only where what they replace has less
WORKING_HOLD = 4  # times the working caps: what waits for its summary stays in working memory up to that
COMPRESSION_QUEUE = 1_024  # sessions waiting to be compressed; one over it is found again at its next Observe
COMPRESSION_WATCHED = 16_384  # sessions whose growth since the last look is known; others are looked at
COMPRESSION_SCAN_SESSIONS = 32  # idle ones looked at in one step: a few milliseconds of reading
COMPRESSION_SCAN_INTERVAL_S = 1.0  # between two such steps: 100,000 sessions are looked at within an hour
COMPRESSION_SCAN_PAUSE_S = 600.0  # between two rounds: those who grow need none, it is for what was missed
COMPRESSIONS_AT_ONCE = 4  # sessions compressed side by side: most of the time a hosted model is waited for

# -- queues and caches
INDEX_LOAD_INLINE_ROWS = 20_000  # a namespace up to this size is loaded within its first search: 0.5 s at most
INDEX_LOAD_THREADS = 2  # namespaces loaded at the same time
MAX_INDEX_BACKLOG = 100_000  # commits that may wait for a loading index; beyond it the load starts again
DEFAULT_INDEX_MEMORY_MB = 1_024  # a million memories; a sidecar in a small pod sets less
INDEX_GIVE_BACK_SHARE = 0.1  # of the limit, evicted before free memory goes back to the system: that takes milliseconds
MIN_INDEX_MEMORY_MB = 16  # less would load one namespace after the other anew
MAX_INDEX_MEMORY_MB = 1_048_576  # more than a machine has
INDEX_UPKEEP_INTERVAL_S = 0.2  # how soon a changed index is looked at: to be linked, to be saved, is there memory left
INDEX_UPKEEP_ENTRIES = 512  # linked into a graph in one step: a stop waits for the step, not for the whole
INDEX_SAVE_MIN_ROWS = 2_000  # a smaller index is built from its rows as fast as it is read from a file
INDEX_SAVE_SHARE = 0.1  # of the entries, changed since the last save: reading that many changes again takes long
INDEX_SAVE_INTERVAL_S = 60.0  # between two saves of one index: each writes all of it
SWEEP_ROWS = 2_000  # expired rows deleted in one transaction: it must not delay writers noticeably
SWEEP_GAP_US = 600 * SECOND_US  # no sweep for so long: the daemon was off or the machine slept, every grace begins anew
WRITE_QUEUE_DEPTH = 8_192  # writes waiting for the writer thread
WRITE_BATCH = 512  # requests that share one fsync
READER_THREADS = 2  # threads that read the store for the event loop; memd is built for two cores
READ_QUEUE_DEPTH = 4_096  # reads waiting for them
WAL_CHECKPOINT_PAGES = 1_000  # pages of 4 KiB in the write-ahead log before they are moved to the database
WAL_RESERVE_PAGES = 1_250  # room the log keeps on disk (5 MB): a checkpoint's pages and the batch that passes them
ERASE_RETRY_S = 0.05  # pause between attempts to empty the log after a delete, while readers hold it
ERASE_ERROR_RETRY_S = 1.0  # after the disk refused to: it is full, or about to fail for good
LAZY_ERASE_S = 15.0  # what a cap or a TTL deleted leaves the log within this time; a Forget's at once
SESSION_HEADS = 4_096  # sessions whose bookkeeping is kept in memory; the others are read again
TRIM_SLACK = 64  # events over the cap before they are deleted: one delete for many appends
EMBED_QUEUE_DEPTH = 1_024  # texts waiting for the model, queries and writes each
EMBED_QUERIES_BEFORE_WRITE = 16  # queries embedded in a row while a write waits
REEMBED_CLEAR_ROWS = 512  # rows a table deleted in one commit of what no model needs any more: 1 MB to overwrite
REEMBED_PROGRESS_S = 0.5  # between two messages about how far it is
REEMBED_HELD_ROWS = 8  # texts that may be embedded while all writes wait for the change of model: 0.1 s; doubled a try
MAX_REEMBED_HELD_ROWS = 512  # the same when writes come faster than they can be embedded twice: some seconds
REEMBED_LOCK_PAUSE_S = 20.0  # after a reader (an export) was in the way of the change for 2 s, while everybody waited
REEMBED_BATCH = 64  # texts embedded between two commits: what a killed run loses
EMBED_WINDOW_OVERLAP_PIECES = 64  # word pieces two neighbouring windows share: a long sentence lies whole in one
MEMORY_CACHE_ENTRIES = 8_192  # memories read lately, some 2 KB each with what Python adds
MEMORY_CACHE_BYTES = 8 * 1024 * 1024  # characters of their contents and metadata together
QUERY_CACHE_ENTRIES = 4_096  # 384 x 4 bytes each: 6 MiB of vectors
REQUEST_RECORD_BYTES = 256 * 1024  # ids and versions a dedupe record may hold: 256 ids of the longest kind, escaped

# -- Redis
MIN_REDIS_TIMEOUT_S = 0.01  # a round trip within one data centre takes a tenth of it
MAX_REDIS_TIMEOUT_S = 10.0  # the deadline of a call
DEFAULT_REDIS_TIMEOUT_S = 0.5  # a slow fsync takes 0.1 s; a hung Redis costs one Recall this long
DEFAULT_REDIS_CONNECT_TIMEOUT_S = 2.0  # a start waits this long for a server that does not answer
DEFAULT_REDIS_POOL = 32  # commands at the same time; a Recall makes one
MAX_REDIS_POOL = 1_024  # connections, of Redis's default 10,000 for all its clients
DEFAULT_REDIS_RETRIES = 2  # a failover is over, or it is an outage
MAX_REDIS_RETRIES = 10  # within a deadline of ten seconds
REDIS_RETRY_BASE_S = 0.02  # first pause between two attempts, doubled each time, half of it drawn at random
DEFAULT_REDIS_BREAKER_FAILURES = 3  # lost connections in a row: one may be a restart, three are an outage
MAX_REDIS_BREAKER_FAILURES = 1_000  # as good as never
DEFAULT_REDIS_BREAKER_COOL_DOWN_S = 0.5  # how soon after its return Redis is used again; each try is one PING
MAX_REDIS_BREAKER_COOL_DOWN_S = 60.0  # nobody wants to wait longer for sessions to come back
REDIS_PROBE_INTERVAL_S = 10.0  # how old what is said about the server's persistence may be
REDIS_GRACE_US = DAY_US  # a key outlives its TTL this long; expiry itself is a stored time
REDIS_WAITING_US = 7 * DAY_US  # the same of what waits to be consolidated: a week in which nobody runs loses nothing
REDIS_NOTED = 10_000  # sessions appended to since this daemon last said so; what is over it the patrol finds
REDIS_PATROL = 64  # sessions of all there are looked at with each look for due digests: what nobody noted is found
REDIS_REGISTRATION_US = 600 * SECOND_US  # within it a registered session may be opened
REDIS_INDEX_GRACE_US = HOUR_US  # names in an index younger than this are never taken out of it
REDIS_RECEIPT_TTL_US = 30 * DAY_US  # how long a Forget that was interrupted finds what it had done
REDIS_REWRITE_PAUSE_S = 10.0  # between two rewrites of the append-only file: each writes all that Redis holds
REDIS_BATCH = 256  # keys looked at in one round trip: the answers are small

# -- Postgres
MIN_POSTGRES = 150_000  # server_version_num of the oldest supported release, 15
DEFAULT_POSTGRES_POOL = 8  # connections of a daemon; a fleet of a hundred stays under a thousand
MIN_POSTGRES_POOL = 1  # slow, but it works: what is held for long has a connection of its own
MAX_POSTGRES_POOL = 256  # more than a server gives to one client
DEFAULT_POSTGRES_TIMEOUT_S = 5.0  # of one statement and of connecting: under the caller's own deadline
MIN_POSTGRES_TIMEOUT_S = 0.1  # shorter than a commit on a slow disk
MAX_POSTGRES_TIMEOUT_S = 60.0  # longer than any caller waits
POSTGRES_STATEMENT_CACHE = 256  # prepared statements of a connection: every statement memd uses stays prepared
POSTGRES_MIGRATION_LOCK_S = 60.0  # how long a daemon waits for another one that migrates
POSTGRES_WRITE_ATTEMPTS = 6  # of one transaction that lost to another one, or lost its connection
POSTGRES_RETRY_S = 0.02  # before the second attempt; doubled each time, with jitter
POSTGRES_UNCLEAR_S = 10.0  # how long the outcome of a commit is asked for whose reply was lost
INTERNAL_REQUEST_TTL_US = 600 * SECOND_US  # of the id that finds such an outcome where the caller gave none
POSTGRES_ANNOUNCE_S = 0.005  # between two hints, what comes meanwhile goes together: each is a transaction of its own
MAX_NOTIFY_BYTES = 7_900  # Postgres takes 8,000 bytes a notification


def _table() -> str:
    rows = ["| limit | value | why |", "|---|---|---|"]
    with open(__file__, encoding="utf-8") as source:
        for line in source:
            name, equals, rest = line.partition(" = ")
            if equals and name.isupper():
                why = rest.partition("#")[2].strip()
                rows.append(f"| `{name}` | {globals()[name]:,} | {why} |")
    return "\n".join(rows)


def main() -> None:
    print("# Limits\n\nGenerated by `python -m memd.limits`; the source is `memd/limits.py`.\n")
    print(_table())


if __name__ == "__main__":
    main()
