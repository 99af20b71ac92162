-- Made by tests/schema/make.py; never changed once its schema is released.
PRAGMA application_id = 1685414772;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
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
INSERT INTO "circuit_breaker" VALUES('sick','poll',1,'2000-01-01T03:18:22.378Z',NULL,0);
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
INSERT INTO "job_log" VALUES(1,'01a20143-119b-772e-a642-961f937d8ffb',1,'work','init','scheduler','succeeded','2000-01-01T03:18:22.367Z','2000-01-01T03:18:22.374Z',5,0,NULL,'{"status": "ok", "state_updates": {"seen": 1}, "events": [{"type": "seen", "payload": {"a": [1.50]}}]}
',NULL,NULL,NULL);
INSERT INTO "job_log" VALUES(2,'01a20143-11a5-7592-903b-b52d4df00b8f',1,'sick','poll','scheduler','failed','2000-01-01T03:18:22.374Z','2000-01-01T03:18:22.378Z',1,1,'exit code 1','no
',NULL,NULL,NULL);
INSERT INTO "job_log" VALUES(3,'01a20143-11a5-7592-903b-b52e45f4677c',1,'work','poll','scheduler','succeeded','2000-01-01T03:18:22.378Z','2000-01-01T03:18:22.382Z',3,0,NULL,'{"status": "ok", "state_updates": {"seen": 1}, "events": [{"type": "seen", "payload": {"a": [1.50]}}]}
',NULL,NULL,NULL);
INSERT INTO "job_log" VALUES(4,'01a20143-11a6-73c6-976c-3293aae5eed7',1,'sink','handle','route','failed','2000-01-01T03:18:22.382Z','2000-01-01T03:18:22.385Z',1,0,'no','{"status": "error", "error": "no", "retry": false}
',NULL,NULL,NULL);
INSERT INTO "job_log" VALUES(5,'01a20143-11ae-73d9-b25c-7505b1f64007',1,'sink','handle','route','failed','2000-01-01T03:18:22.385Z','2000-01-01T03:18:22.388Z',1,0,'no','{"status": "error", "error": "no", "retry": false}
',NULL,NULL,NULL);
INSERT INTO "job_log" VALUES(6,'01a20143-11e8-704d-b442-586db919461d',1,'work','handle','cli','succeeded','2000-01-01T03:18:22.441Z','2000-01-01T03:18:22.445Z',2,0,NULL,'{"status": "ok", "state_updates": {"seen": 1}, "events": [{"type": "seen", "payload": {"a": [1.50]}}]}
',NULL,NULL,NULL);
INSERT INTO "job_log" VALUES(7,'01a20143-11ed-74de-9667-be566d95e2de',1,'sink','handle','route','failed','2000-01-01T03:18:22.445Z','2000-01-01T03:18:22.448Z',1,0,'no','{"status": "error", "error": "no", "retry": false}
',NULL,NULL,NULL);
INSERT INTO "job_log" VALUES(8,'01a20143-1206-7373-86aa-7dc7f6d096b3',1,'watch','poll','cli','succeeded','2000-01-01T03:18:22.472Z','2000-01-01T03:18:22.476Z',2,0,NULL,'looked','{"status": "ok", "result": "looked", "state_updates": {"n": 1}}
',NULL,NULL);
INSERT INTO "job_log" VALUES(9,'01a20143-1297-73c6-89a9-bb514d8105e7',1,'later','handle','cli','failed','2000-01-01T03:18:22.619Z','2000-01-01T03:18:22.622Z',1,0,'busy','{"status": "error", "error": "busy"}
',NULL,NULL,NULL);
CREATE TABLE job_payload (
  seq                INTEGER PRIMARY KEY,   -- of its job
  payload            TEXT NOT NULL
) STRICT;
INSERT INTO "job_payload" VALUES(4,'{"type":"seen","payload":{"a": [1.50]},"source":"work","timestamp":"2000-01-01T03:18:22.374Z","event_id":"8ab5eea8-d029-59c7-9a10-beb7b9d12c50"}');
INSERT INTO "job_payload" VALUES(5,'{"type":"seen","payload":{"a": [1.50]},"source":"work","timestamp":"2000-01-01T03:18:22.382Z","event_id":"739ce6f5-f76a-551f-98d7-50975ade4e33"}');
INSERT INTO "job_payload" VALUES(6,'{"type":"cli","payload":{"text": "Grüße\n", "number": 12345678901234567890.25},"dedupe_key":"once","source":"cli","timestamp":"2000-01-01T03:18:22.440Z","event_id":"01a20143-11e8-704d-b442-586c9a472edb"}');
INSERT INTO "job_payload" VALUES(7,'{"type":"seen","payload":{"a": [1.50]},"source":"work","timestamp":"2000-01-01T03:18:22.445Z","event_id":"aea5587a-95f7-5a6a-9234-d2e34334fb7c"}');
INSERT INTO "job_payload" VALUES(9,'{"type":"cli","payload":{"text": "Grüße\n", "number": 12345678901234567890.25},"source":"cli","timestamp":"2000-01-01T03:18:22.615Z","event_id":"01a20143-1297-73c6-89a9-bb506cae5aa4"}');
INSERT INTO "job_payload" VALUES(10,'{"type":"cli","payload":{"text": "Grüße\n", "number": 12345678901234567890.25},"source":"cli","timestamp":"2000-01-01T03:18:22.757Z","event_id":"01a20143-1325-71e9-9005-699ae32ebe37"}');
INSERT INTO "job_payload" VALUES(11,'{"type":"cli","payload":{"text": "Grüße\n", "number": 12345678901234567890.25},"source":"cli","timestamp":"2000-01-01T03:18:22.767Z","event_id":"01a20143-132f-77cb-a59c-6058daaa1487"}');
INSERT INTO "job_payload" VALUES(12,'{"type":"cli","payload":{"text": "Grüße\n", "number": 12345678901234567890.25},"source":"cli","timestamp":"2000-01-01T03:18:22.877Z","event_id":"01a20143-139d-76d7-b443-b373bafb135f"}');
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
INSERT INTO "job_queue" VALUES(1,'01a20143-119b-772e-a642-961f937d8ffb','work','init','succeeded',1,1,'scheduler',NULL,NULL,NULL,NULL,0,0,'2000-01-01T03:18:22.362Z','2000-01-01T03:18:22.367Z','2000-01-01T03:18:22.374Z',NULL,NULL,NULL);
INSERT INTO "job_queue" VALUES(2,'01a20143-11a5-7592-903b-b52d4df00b8f','sick','poll','dead',1,1,'scheduler','often',NULL,NULL,NULL,0,0,'2000-01-01T03:18:22.372Z','2000-01-01T03:18:22.374Z','2000-01-01T03:18:22.378Z',NULL,NULL,'exit code 1');
INSERT INTO "job_queue" VALUES(3,'01a20143-11a5-7592-903b-b52e45f4677c','work','poll','succeeded',1,4,'scheduler','weekly',NULL,NULL,NULL,0,0,'2000-01-01T03:18:22.372Z','2000-01-01T03:18:22.378Z','2000-01-01T03:18:22.382Z',NULL,NULL,NULL);
INSERT INTO "job_queue" VALUES(4,'01a20143-11a6-73c6-976c-3293aae5eed7','sink','handle','dead',1,1,'route',NULL,NULL,'01a20143-119b-772e-a642-961f937d8ffb','8ab5eea8-d029-59c7-9a10-beb7b9d12c50',1,0,'2000-01-01T03:18:22.374Z','2000-01-01T03:18:22.382Z','2000-01-01T03:18:22.385Z',NULL,NULL,'no');
INSERT INTO "job_queue" VALUES(5,'01a20143-11ae-73d9-b25c-7505b1f64007','sink','handle','dead',1,1,'route',NULL,NULL,'01a20143-11a5-7592-903b-b52e45f4677c','739ce6f5-f76a-551f-98d7-50975ade4e33',1,0,'2000-01-01T03:18:22.382Z','2000-01-01T03:18:22.385Z','2000-01-01T03:18:22.388Z',NULL,NULL,'no');
INSERT INTO "job_queue" VALUES(6,'01a20143-11e8-704d-b442-586db919461d','work','handle','succeeded',1,4,'cli',NULL,'once',NULL,'01a20143-11e8-704d-b442-586c9a472edb',0,0,'2000-01-01T03:18:22.440Z','2000-01-01T03:18:22.441Z','2000-01-01T03:18:22.445Z',NULL,NULL,NULL);
INSERT INTO "job_queue" VALUES(7,'01a20143-11ed-74de-9667-be566d95e2de','sink','handle','dead',1,1,'route',NULL,NULL,'01a20143-11e8-704d-b442-586db919461d','aea5587a-95f7-5a6a-9234-d2e34334fb7c',1,0,'2000-01-01T03:18:22.445Z','2000-01-01T03:18:22.445Z','2000-01-01T03:18:22.448Z',NULL,NULL,'no');
INSERT INTO "job_queue" VALUES(8,'01a20143-1206-7373-86aa-7dc7f6d096b3','watch','poll','succeeded',1,4,'cli',NULL,NULL,NULL,NULL,0,0,'2000-01-01T03:18:22.470Z','2000-01-01T03:18:22.472Z','2000-01-01T03:18:22.476Z',NULL,NULL,NULL);
INSERT INTO "job_queue" VALUES(9,'01a20143-1297-73c6-89a9-bb514d8105e7','later','handle','queued',2,4,'cli',NULL,NULL,NULL,'01a20143-1297-73c6-89a9-bb506cae5aa4',0,0,'2000-01-01T03:18:22.615Z','2000-01-01T03:18:22.619Z',NULL,'2000-01-01T04:39:00.338Z','2000-01-01T03:18:22.622Z','busy');
INSERT INTO "job_queue" VALUES(10,'01a20143-1325-71e9-9005-699b07a430c6','resting','handle','queued',1,4,'cli',NULL,NULL,NULL,'01a20143-1325-71e9-9005-699ae32ebe37',0,0,'2000-01-01T03:18:22.757Z',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "job_queue" VALUES(11,'01a20143-132f-77cb-a59c-6059add702e2','slow','handle','running',1,4,'cli',NULL,NULL,NULL,'01a20143-132f-77cb-a59c-6058daaa1487',0,0,'2000-01-01T03:18:22.767Z','2000-01-01T03:18:22.769Z',NULL,NULL,NULL,NULL);
INSERT INTO "job_queue" VALUES(12,'01a20143-139d-76d7-b443-b3741fc4756c','work','handle','queued',1,4,'cli',NULL,NULL,NULL,'01a20143-139d-76d7-b443-b373bafb135f',0,0,'2000-01-01T03:18:22.877Z',NULL,NULL,NULL,NULL,NULL);
CREATE TABLE pause (
  plugin             TEXT PRIMARY KEY,
  since              TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "pause" VALUES('resting','2000-01-01T03:18:22.730Z');
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
INSERT INTO "plugin" VALUES('later',1,1,NULL,'1.0.0',1,'["handle"]',4,NULL,'[]',NULL,'/srv/ductile/plugins/later','[]','{"name":"later","version":"1.0.0","protocol":1,"entrypoint":"run","commands":[{"name":"handle"}]}');
INSERT INTO "plugin" VALUES('resting',1,1,NULL,'1.0.0',1,'["handle"]',4,NULL,'[]',NULL,'/srv/ductile/plugins/resting','[]','{"name":"resting","version":"1.0.0","protocol":1,"entrypoint":"run","commands":[{"name":"handle"}]}');
INSERT INTO "plugin" VALUES('sick',1,1,NULL,'1.0.0',1,'["poll"]',1,1000,'[{"id":"often","command":"poll","every_ms":1000}]',NULL,'/srv/ductile/plugins/sick','[]','{"name":"sick","version":"1.0.0","protocol":1,"entrypoint":"run","commands":[{"name":"poll"}]}');
INSERT INTO "plugin" VALUES('sink',1,1,NULL,'1.0.0',1,'["handle"]',1,NULL,'[]',NULL,'/srv/ductile/plugins/sink','[]','{"name":"sink","version":"1.0.0","protocol":1,"entrypoint":"run","commands":[{"name":"handle"}]}');
INSERT INTO "plugin" VALUES('slow',1,1,NULL,'1.0.0',1,'["handle"]',4,NULL,'[]',NULL,'/srv/ductile/plugins/slow','[]','{"name":"slow","version":"1.0.0","protocol":1,"entrypoint":"run","commands":[{"name":"handle"}]}');
INSERT INTO "plugin" VALUES('watch',1,1,NULL,'1.0.0',2,'["poll"]',4,NULL,'[]',NULL,'/srv/ductile/plugins/watch','[]','{"name":"watch","version":"1.0.0","protocol":2,"entrypoint":"run","commands":[{"name":"poll"}],"fact_outputs":[{"when":{"command":"poll"},"from":"state_updates","fact_type":"watch.snapshot","compatibility_view":"mirror_object"}]}');
INSERT INTO "plugin" VALUES('work',1,1,NULL,'1.0.0',1,'["poll","handle","init"]',4,604800000,'[{"id":"weekly","command":"poll","every_ms":604800000}]',NULL,'/srv/ductile/plugins/work','[]','{"name":"work","version":"1.0.0","protocol":1,"entrypoint":"run","commands":[{"name":"poll"},{"name":"handle"},{"name":"init"}]}');
CREATE TABLE plugin_facts (
  seq                INTEGER PRIMARY KEY,   -- their order
  plugin_name        TEXT NOT NULL,
  fact_type          TEXT NOT NULL,
  job_id             TEXT NOT NULL,
  command            TEXT NOT NULL,
  fact_json          TEXT NOT NULL,         -- an object
  created_at         TEXT NOT NULL
) STRICT;
INSERT INTO "plugin_facts" VALUES(1,'watch','watch.snapshot','01a20143-1206-7373-86aa-7dc7f6d096b3','poll','{"n":1}','2000-01-01T03:18:22.476Z');
CREATE TABLE plugin_init (
  plugin             TEXT PRIMARY KEY,
  done_hash          TEXT,              -- manifest and configuration of the last success
  started_hash       TEXT,              -- of the last attempt
  failed_at          TEXT,              -- NULL unless the last one failed: the plugin is unhealthy
  error              TEXT,
  CHECK ((failed_at IS NULL) = (error IS NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO "plugin_init" VALUES('work','5646e91e26b69a75582f42eea640eee38e3b903d7f863ec780e98c5eb9d90bc7','5646e91e26b69a75582f42eea640eee38e3b903d7f863ec780e98c5eb9d90bc7',NULL,NULL);
CREATE TABLE plugin_state (
  plugin_name        TEXT PRIMARY KEY,
  state              TEXT NOT NULL,
  updated_at         TEXT NOT NULL
) STRICT;
INSERT INTO "plugin_state" VALUES('work','{"seen":1}','2000-01-01T03:18:22.445Z');
INSERT INTO "plugin_state" VALUES('watch','{"n":1}','2000-01-01T03:18:22.476Z');
CREATE TABLE schedule (
  plugin             TEXT NOT NULL,
  schedule           TEXT NOT NULL,     -- its id, `default` of the one without
  command            TEXT NOT NULL,
  hash               TEXT NOT NULL,     -- of the schedule's settings: another hash, another next_run
  anchor             TEXT,              -- when the last run was enqueued or ended; NULL before the first
  next_run           TEXT,              -- NULL while the plugin is not loaded
  PRIMARY KEY (plugin, schedule)
) STRICT, WITHOUT ROWID;
INSERT INTO "schedule" VALUES('sick','often','poll','1000 0','2000-01-01T03:18:22.378Z','2000-01-01T03:18:23.378Z');
INSERT INTO "schedule" VALUES('work','weekly','poll','604800000 0','2000-01-01T03:18:22.382Z','2000-01-01T03:18:22.382Z');
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
INSERT INTO "service" VALUES(1,'58d3b81e-104e-4cb6-b74a-312095e9f52c','ductile',1003,'0.1.0','2000-01-01T03:18:22.362Z',NULL,'/srv/ductile/config.yaml','d97911905a8d7a6452b6b1d5b0ca30909688cce4baba4f0831b1c117855ae3c6',NULL,NULL,0,NULL,NULL,NULL,86400000,100000);
CREATE INDEX job_queue_queued ON job_queue((next_retry_at IS NOT NULL), seq) WHERE status = 'queued';
CREATE INDEX job_queue_ready ON job_queue(plugin, seq) WHERE status = 'queued' AND next_retry_at IS NULL;
CREATE INDEX job_queue_retry ON job_queue(next_retry_at) WHERE next_retry_at IS NOT NULL;
CREATE INDEX job_queue_retry_set ON job_queue(retry_set_at) WHERE retry_set_at IS NOT NULL;
CREATE UNIQUE INDEX job_queue_running ON job_queue(status) WHERE status = 'running';
CREATE INDEX job_queue_outstanding ON job_queue(plugin, schedule)
  WHERE status IN ('queued', 'running') AND (schedule IS NOT NULL OR command = 'poll');
CREATE INDEX job_queue_init ON job_queue(plugin, seq) WHERE command = 'init' AND status = 'queued';
CREATE INDEX job_queue_dedupe ON job_queue(plugin, command, dedupe_key, completed_at)
  WHERE status = 'succeeded' AND dedupe_key IS NOT NULL;
CREATE INDEX job_queue_succeeded ON job_queue(plugin, seq) WHERE status = 'succeeded';
CREATE INDEX job_queue_completed ON job_queue(completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX job_queue_dead ON job_queue(seq) WHERE status = 'dead';
CREATE INDEX job_queue_dead_plugin ON job_queue(plugin, seq) WHERE status = 'dead';
CREATE INDEX job_queue_parent ON job_queue(parent_job_id) WHERE parent_job_id IS NOT NULL;
CREATE TRIGGER job_payload_of_deleted AFTER DELETE ON job_queue BEGIN
  DELETE FROM job_payload WHERE seq = old.seq;
END;
CREATE VIEW jobs AS
  SELECT job_queue.*, job_payload.payload
  FROM job_queue LEFT JOIN job_payload ON job_payload.seq = job_queue.seq;
CREATE INDEX job_log_completed ON job_log(completed_at);
CREATE INDEX job_log_plugin ON job_log(plugin, id, completed_at, status, duration_ms);
CREATE INDEX job_log_failed ON job_log(id) WHERE status != 'succeeded';
CREATE INDEX job_log_failed_plugin ON job_log(plugin, id) WHERE status != 'succeeded';
CREATE INDEX plugin_facts_plugin ON plugin_facts(plugin_name);
CREATE INDEX plugin_facts_type ON plugin_facts(plugin_name, fact_type);
CREATE INDEX plugin_facts_created ON plugin_facts(created_at);
CREATE INDEX schedule_next_run ON schedule(next_run) WHERE next_run IS NOT NULL;
CREATE INDEX schedule_anchor ON schedule(anchor) WHERE next_run IS NOT NULL;
COMMIT;
