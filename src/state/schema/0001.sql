-- Schema 1. Times are UTC, RFC 3339, fixed width, so that text order is time order.
-- Names are checked with OR: of an IN with more than two SQLite makes a temporary b-tree, for each row that is written.

CREATE TABLE service (
  one                INTEGER PRIMARY KEY CHECK (one = 1),
  instance           TEXT NOT NULL,     -- this database's identity, carried by every plugin process
  name               TEXT,
  pid                INTEGER,           -- of the running daemon; NULL when it ended properly
  version            TEXT,
  started_at         TEXT,
  stopped_at         TEXT,
  config_path        TEXT,
  config_hash        TEXT,
  listen             TEXT,              -- of the webhook server, as it was bound
  metrics_listen     TEXT,              -- of the metrics, as it was bound
  reloads            INTEGER NOT NULL DEFAULT 0,   -- how often it was asked for, ever
  reload_tried_at    TEXT,              -- the last time, since the daemon has started
  reload_error       TEXT,              -- why it was refused; NULL when it was taken
  reload_changes     TEXT,              -- JSON array of texts
  dedupe_ttl_ms      INTEGER,
  max_queue_depth    INTEGER
) STRICT;

-- What the daemon made of each plugin, for commands that do not read the configuration.
CREATE TABLE plugin (
  name               TEXT PRIMARY KEY,
  enabled            INTEGER NOT NULL CHECK (enabled IN (0, 1)),
  loaded             INTEGER NOT NULL CHECK (loaded IN (0, 1)),
  error              TEXT,
  version            TEXT,
  protocol           INTEGER,
  commands           TEXT NOT NULL,     -- JSON array of names
  max_attempts       INTEGER NOT NULL,
  schedule_every_ms  INTEGER,           -- the shortest of its schedules
  schedules          TEXT NOT NULL,     -- JSON array of {id, command, every_ms}
  uses               TEXT,              -- of an alias: the plugin whose files it runs
  folder             TEXT,              -- where it was loaded from
  warnings           TEXT NOT NULL,     -- JSON array of texts
  manifest           TEXT,              -- JSON; NULL when it is not loaded
  CHECK ((error IS NULL) = loaded),
  CHECK ((manifest IS NULL) = (protocol IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE job_queue (
  seq                INTEGER PRIMARY KEY,   -- the order of the queue
  id                 TEXT NOT NULL UNIQUE,
  plugin             TEXT NOT NULL,
  command            TEXT NOT NULL,
  status             TEXT NOT NULL
                     CHECK (status = 'queued' OR status = 'running' OR status = 'succeeded' OR status = 'dead'),
  attempt            INTEGER NOT NULL CHECK (attempt >= 1),
  max_attempts       INTEGER NOT NULL CHECK (max_attempts >= attempt),
  submitted_by       TEXT NOT NULL
                     CHECK (submitted_by = 'scheduler' OR submitted_by = 'webhook' OR submitted_by = 'route' OR submitted_by = 'cli'),
  schedule           TEXT,                  -- the id of the schedule that asked for it
  dedupe_key         TEXT,
  parent_job_id      TEXT,
  source_event_id    TEXT,
  hops               INTEGER NOT NULL CHECK (hops >= 0),
  from_core          INTEGER NOT NULL DEFAULT 0 CHECK (from_core IN (0, 1)),  -- descends from a core event
  created_at         TEXT NOT NULL,
  started_at         TEXT,                  -- of the current or last attempt
  completed_at       TEXT,
  next_retry_at      TEXT,                  -- NULL when it may run as soon as its turn comes
  retry_set_at       TEXT,                  -- when next_retry_at was chosen: later than now, the clock stepped back
  last_error         TEXT,
  CHECK ((completed_at IS NOT NULL) = (status IN ('succeeded', 'dead'))),
  CHECK (status NOT IN ('running', 'succeeded') OR started_at IS NOT NULL),
  CHECK (next_retry_at IS NULL OR status = 'queued'),
  CHECK ((next_retry_at IS NULL) = (retry_set_at IS NULL)),
  CHECK (status != 'dead' OR last_error IS NOT NULL),
  CHECK (schedule IS NULL OR submitted_by = 'scheduler')
) STRICT;

-- The queue: those that may run (0) and those that wait for their retry (1), each in order.
CREATE INDEX job_queue_queued ON job_queue((next_retry_at IS NOT NULL), seq) WHERE status = 'queued';
-- The first runnable job of each plugin, when those at the head of the queue may not run.
CREATE INDEX job_queue_ready ON job_queue(plugin, seq) WHERE status = 'queued' AND next_retry_at IS NULL;
CREATE INDEX job_queue_retry ON job_queue(next_retry_at) WHERE next_retry_at IS NOT NULL;
CREATE INDEX job_queue_retry_set ON job_queue(retry_set_at) WHERE retry_set_at IS NOT NULL;
-- Serial dispatch: the database itself refuses a second running job.
CREATE UNIQUE INDEX job_queue_running ON job_queue(status) WHERE status = 'running';
-- What holds back the next run of a schedule: its own jobs, and polls that no schedule has asked for.
CREATE INDEX job_queue_outstanding ON job_queue(plugin, schedule)
  WHERE status IN ('queued', 'running') AND (schedule IS NOT NULL OR command = 'poll');
-- While one of these waits, the plugin's other jobs are passed over.
CREATE INDEX job_queue_init ON job_queue(plugin, seq) WHERE command = 'init' AND status = 'queued';
CREATE INDEX job_queue_dedupe ON job_queue(plugin, command, dedupe_key, completed_at)
  WHERE status = 'succeeded' AND dedupe_key IS NOT NULL;
CREATE INDEX job_queue_succeeded ON job_queue(plugin, seq) WHERE status = 'succeeded';
CREATE INDEX job_queue_completed ON job_queue(completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX job_queue_dead ON job_queue(seq) WHERE status = 'dead';
CREATE INDEX job_queue_dead_plugin ON job_queue(plugin, seq) WHERE status = 'dead';
CREATE INDEX job_queue_parent ON job_queue(parent_job_id) WHERE parent_job_id IS NOT NULL;

-- Written once, apart from the row that every transition rewrites.
CREATE TABLE job_payload (
  seq                INTEGER PRIMARY KEY,   -- of its job
  payload            TEXT NOT NULL
) STRICT;

-- Also when somebody deletes a job by hand: its number is given again.
CREATE TRIGGER job_payload_of_deleted AFTER DELETE ON job_queue BEGIN
  DELETE FROM job_payload WHERE seq = old.seq;
END;

CREATE VIEW jobs AS
  SELECT job_queue.*, job_payload.payload
  FROM job_queue LEFT JOIN job_payload ON job_payload.seq = job_queue.seq;

CREATE TABLE job_log (
  id                 INTEGER PRIMARY KEY,
  job_id             TEXT NOT NULL,
  attempt            INTEGER NOT NULL,
  plugin             TEXT NOT NULL,
  command            TEXT NOT NULL,
  submitted_by       TEXT NOT NULL,
  status             TEXT NOT NULL CHECK (status = 'succeeded' OR status = 'failed' OR status = 'timed_out'),
  started_at         TEXT NOT NULL,
  completed_at       TEXT NOT NULL,
  duration_ms        INTEGER NOT NULL,
  exit_code          INTEGER,
  error              TEXT,
  result             TEXT,                  -- what the response says in words, else what the plugin printed, its first 64 KB
  response           TEXT,                  -- what the plugin printed, if `result` is from its response
  logs               TEXT,                  -- JSON array of {level, message}
  stderr             TEXT,
  UNIQUE (job_id, attempt),
  CHECK ((error IS NULL) = (status = 'succeeded'))
) STRICT;

CREATE INDEX job_log_completed ON job_log(completed_at);
CREATE INDEX job_log_plugin ON job_log(plugin, id, completed_at, status, duration_ms);
CREATE INDEX job_log_failed ON job_log(id) WHERE status != 'succeeded';
CREATE INDEX job_log_failed_plugin ON job_log(plugin, id) WHERE status != 'succeeded';

CREATE TABLE plugin_state (
  plugin_name        TEXT PRIMARY KEY,
  state              TEXT NOT NULL,
  updated_at         TEXT NOT NULL
) STRICT;

-- Snapshots that a plugin states as facts: each was its whole state when it was stated.
CREATE TABLE plugin_facts (
  seq                INTEGER PRIMARY KEY,   -- their order
  plugin_name        TEXT NOT NULL,
  fact_type          TEXT NOT NULL,
  job_id             TEXT NOT NULL,
  command            TEXT NOT NULL,
  fact_json          TEXT NOT NULL,         -- an object
  created_at         TEXT NOT NULL
) STRICT;

CREATE INDEX plugin_facts_plugin ON plugin_facts(plugin_name);
CREATE INDEX plugin_facts_type ON plugin_facts(plugin_name, fact_type);
CREATE INDEX plugin_facts_created ON plugin_facts(created_at);

CREATE TABLE schedule (
  plugin             TEXT NOT NULL,
  schedule           TEXT NOT NULL,     -- its id, `default` of the one without
  command            TEXT NOT NULL,
  hash               TEXT NOT NULL,     -- of the schedule's settings: another hash, another next_run
  anchor             TEXT,              -- when the last run was enqueued or ended; NULL before the first
  next_run           TEXT,              -- NULL while the plugin is not loaded
  PRIMARY KEY (plugin, schedule)
) STRICT, WITHOUT ROWID;

-- Of scheduled jobs. Closed without `opened_at`; half open with a probe.
CREATE TABLE circuit_breaker (
  plugin             TEXT NOT NULL,
  command            TEXT NOT NULL,
  failures           INTEGER NOT NULL CHECK (failures >= 0),   -- jobs in a row that ended dead
  opened_at          TEXT,
  probe_job_id       TEXT,
  reset_seq          INTEGER NOT NULL DEFAULT 0,                -- jobs up to this one do not count: an operator has reset it
  PRIMARY KEY (plugin, command),
  CHECK (probe_job_id IS NULL OR opened_at IS NOT NULL)
) STRICT, WITHOUT ROWID;

-- Of plugins that declare `init`.
CREATE TABLE plugin_init (
  plugin             TEXT PRIMARY KEY,
  done_hash          TEXT,              -- manifest and configuration of the last success
  started_hash       TEXT,              -- of the last attempt
  failed_at          TEXT,              -- NULL unless the last one failed: the plugin is unhealthy
  error              TEXT,
  CHECK ((failed_at IS NULL) = (error IS NULL))
) STRICT, WITHOUT ROWID;

-- What an operator has paused: a plugin, or with an empty name the whole queue.
CREATE TABLE pause (
  plugin             TEXT PRIMARY KEY,
  since              TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX schedule_next_run ON schedule(next_run) WHERE next_run IS NOT NULL;
CREATE INDEX schedule_anchor ON schedule(anchor) WHERE next_run IS NOT NULL;
