-- Made by tests/schema/make.py; never changed once its schema is released.
PRAGMA application_id = 1685414772;
PRAGMA user_version = 2;
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
INSERT INTO "circuit_breaker" VALUES('sick','poll',1,'2000-01-01T10:07:30.837Z',NULL,0);
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
INSERT INTO "job_log" VALUES(1,'01a202b9-a60f-769e-9054-e8cad202c8ad',1,'work','init','scheduler','succeeded','2000-01-01T10:07:30.832Z','2000-01-01T10:07:30.834Z',1,0,NULL,'{"status": "ok", "state_updates": {"seen": 1}, "events": [{"type": "seen", "payload": {"a": [1.50]}}]}
',NULL,NULL,NULL);
INSERT INTO "job_log" VALUES(2,'01a202b9-a612-76fd-9115-b11e5e04dfda',1,'sink','handle','route','failed','2000-01-01T10:07:30.834Z','2000-01-01T10:07:30.836Z',0,0,'no','{"status": "error", "error": "no", "retry": false}
',NULL,NULL,NULL);
INSERT INTO "job_log" VALUES(3,'01a202b9-a612-76fd-9115-b11ffcd49ace',1,'sick','poll','scheduler','failed','2000-01-01T10:07:30.836Z','2000-01-01T10:07:30.837Z',0,1,'exit code 1','no
',NULL,NULL,NULL);
INSERT INTO "job_log" VALUES(4,'01a202b9-a612-76fd-9115-b1206fa52813',1,'work','poll','scheduler','succeeded','2000-01-01T10:07:30.837Z','2000-01-01T10:07:30.838Z',0,0,NULL,'{"status": "ok", "state_updates": {"seen": 1}, "events": [{"type": "seen", "payload": {"a": [1.50]}}]}
',NULL,NULL,NULL);
INSERT INTO "job_log" VALUES(5,'01a202b9-a616-708c-8574-a05e7b22f62b',1,'sink','handle','route','failed','2000-01-01T10:07:30.838Z','2000-01-01T10:07:30.839Z',0,0,'no','{"status": "error", "error": "no", "retry": false}
',NULL,NULL,NULL);
INSERT INTO "job_log" VALUES(6,'01a202b9-a670-7248-b2e6-3d36df7aae50',1,'work','handle','cli','succeeded','2000-01-01T10:07:30.929Z','2000-01-01T10:07:30.931Z',1,0,NULL,'{"status": "ok", "state_updates": {"seen": 1}, "events": [{"type": "seen", "payload": {"a": [1.50]}}]}
',NULL,NULL,NULL);
INSERT INTO "job_log" VALUES(7,'01a202b9-a673-722b-88bc-dfd1b5ae3f13',1,'sink','handle','route','failed','2000-01-01T10:07:30.931Z','2000-01-01T10:07:30.932Z',0,0,'no','{"status": "error", "error": "no", "retry": false}
',NULL,NULL,NULL);
INSERT INTO "job_log" VALUES(8,'01a202b9-a68a-73c6-8798-a3a996164602',1,'watch','poll','cli','succeeded','2000-01-01T10:07:30.955Z','2000-01-01T10:07:30.956Z',1,0,NULL,'looked','{"status": "ok", "result": "looked", "state_updates": {"n": 1}}
',NULL,NULL);
INSERT INTO "job_log" VALUES(9,'01a202b9-a709-771d-b4cc-80f58baba5c3',1,'later','handle','cli','failed','2000-01-01T10:07:31.083Z','2000-01-01T10:07:31.084Z',0,0,'busy','{"status": "error", "error": "busy"}
',NULL,NULL,NULL);
CREATE TABLE job_payload (
  seq                INTEGER PRIMARY KEY,   -- of its job
  payload            TEXT NOT NULL
) STRICT;
INSERT INTO "job_payload" VALUES(2,'{"type":"seen","payload":{"a": [1.50]},"source":"work","timestamp":"2000-01-01T10:07:30.834Z","event_id":"15d64697-7c32-5adc-826c-b94634026f60"}');
INSERT INTO "job_payload" VALUES(5,'{"type":"seen","payload":{"a": [1.50]},"source":"work","timestamp":"2000-01-01T10:07:30.838Z","event_id":"5534f4f3-28b7-56f4-878e-cf3ef19c1f89"}');
INSERT INTO "job_payload" VALUES(6,'{"type":"cli","payload":{"text": "Grüße\n", "number": 12345678901234567890.25},"dedupe_key":"once","source":"cli","timestamp":"2000-01-01T10:07:30.928Z","event_id":"01a202b9-a670-7248-b2e6-3d35175bebd9"}');
INSERT INTO "job_payload" VALUES(7,'{"type":"seen","payload":{"a": [1.50]},"source":"work","timestamp":"2000-01-01T10:07:30.931Z","event_id":"20270455-756a-50d4-ba91-e2d74fa060c1"}');
INSERT INTO "job_payload" VALUES(9,'{"type":"cli","payload":{"text": "Grüße\n", "number": 12345678901234567890.25},"source":"cli","timestamp":"2000-01-01T10:07:31.081Z","event_id":"01a202b9-a709-771d-b4cc-80f42fa03111"}');
INSERT INTO "job_payload" VALUES(10,'{"type":"cli","payload":{"text": "Grüße\n", "number": 12345678901234567890.25},"source":"cli","timestamp":"2000-01-01T10:07:31.190Z","event_id":"01a202b9-a776-707f-babd-ab73e08675bc"}');
INSERT INTO "job_payload" VALUES(11,'{"type":"cli","payload":{"text": "Grüße\n", "number": 12345678901234567890.25},"source":"cli","timestamp":"2000-01-01T10:07:31.193Z","event_id":"01a202b9-a779-744b-9448-779bb7dd4483"}');
INSERT INTO "job_payload" VALUES(12,'{"type":"cli","payload":{"text": "Grüße\n", "number": 12345678901234567890.25},"source":"cli","timestamp":"2000-01-01T10:07:31.298Z","event_id":"01a202b9-a7e2-7563-92af-88085a6b8cf0"}');
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
INSERT INTO "job_queue" VALUES(1,'01a202b9-a60f-769e-9054-e8cad202c8ad','work','init','succeeded',1,1,'scheduler',NULL,NULL,NULL,NULL,0,0,'2000-01-01T10:07:30.831Z','2000-01-01T10:07:30.832Z','2000-01-01T10:07:30.834Z',NULL,NULL,NULL);
INSERT INTO "job_queue" VALUES(2,'01a202b9-a612-76fd-9115-b11e5e04dfda','sink','handle','dead',1,1,'route',NULL,NULL,'01a202b9-a60f-769e-9054-e8cad202c8ad','15d64697-7c32-5adc-826c-b94634026f60',1,0,'2000-01-01T10:07:30.834Z','2000-01-01T10:07:30.834Z','2000-01-01T10:07:30.836Z',NULL,NULL,'no');
INSERT INTO "job_queue" VALUES(3,'01a202b9-a612-76fd-9115-b11ffcd49ace','sick','poll','dead',1,1,'scheduler','often',NULL,NULL,NULL,0,0,'2000-01-01T10:07:30.834Z','2000-01-01T10:07:30.836Z','2000-01-01T10:07:30.837Z',NULL,NULL,'exit code 1');
INSERT INTO "job_queue" VALUES(4,'01a202b9-a612-76fd-9115-b1206fa52813','work','poll','succeeded',1,4,'scheduler','weekly',NULL,NULL,NULL,0,0,'2000-01-01T10:07:30.834Z','2000-01-01T10:07:30.837Z','2000-01-01T10:07:30.838Z',NULL,NULL,NULL);
INSERT INTO "job_queue" VALUES(5,'01a202b9-a616-708c-8574-a05e7b22f62b','sink','handle','dead',1,1,'route',NULL,NULL,'01a202b9-a612-76fd-9115-b1206fa52813','5534f4f3-28b7-56f4-878e-cf3ef19c1f89',1,0,'2000-01-01T10:07:30.838Z','2000-01-01T10:07:30.838Z','2000-01-01T10:07:30.839Z',NULL,NULL,'no');
INSERT INTO "job_queue" VALUES(6,'01a202b9-a670-7248-b2e6-3d36df7aae50','work','handle','succeeded',1,4,'cli',NULL,'once',NULL,'01a202b9-a670-7248-b2e6-3d35175bebd9',0,0,'2000-01-01T10:07:30.928Z','2000-01-01T10:07:30.929Z','2000-01-01T10:07:30.931Z',NULL,NULL,NULL);
INSERT INTO "job_queue" VALUES(7,'01a202b9-a673-722b-88bc-dfd1b5ae3f13','sink','handle','dead',1,1,'route',NULL,NULL,'01a202b9-a670-7248-b2e6-3d36df7aae50','20270455-756a-50d4-ba91-e2d74fa060c1',1,0,'2000-01-01T10:07:30.931Z','2000-01-01T10:07:30.931Z','2000-01-01T10:07:30.932Z',NULL,NULL,'no');
INSERT INTO "job_queue" VALUES(8,'01a202b9-a68a-73c6-8798-a3a996164602','watch','poll','succeeded',1,4,'cli',NULL,NULL,NULL,NULL,0,0,'2000-01-01T10:07:30.954Z','2000-01-01T10:07:30.955Z','2000-01-01T10:07:30.956Z',NULL,NULL,NULL);
INSERT INTO "job_queue" VALUES(9,'01a202b9-a709-771d-b4cc-80f58baba5c3','later','handle','queued',2,4,'cli',NULL,NULL,NULL,'01a202b9-a709-771d-b4cc-80f42fa03111',0,0,'2000-01-01T10:07:31.081Z','2000-01-01T10:07:31.083Z',NULL,'2000-01-01T11:20:03.106Z','2000-01-01T10:07:31.084Z','busy');
INSERT INTO "job_queue" VALUES(10,'01a202b9-a776-707f-babd-ab74c3bb2a4c','resting','handle','queued',1,4,'cli',NULL,NULL,NULL,'01a202b9-a776-707f-babd-ab73e08675bc',0,0,'2000-01-01T10:07:31.190Z',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "job_queue" VALUES(11,'01a202b9-a779-744b-9448-779cc286a2a2','slow','handle','running',1,4,'cli',NULL,NULL,NULL,'01a202b9-a779-744b-9448-779bb7dd4483',0,0,'2000-01-01T10:07:31.193Z','2000-01-01T10:07:31.195Z',NULL,NULL,NULL,NULL);
INSERT INTO "job_queue" VALUES(12,'01a202b9-a7e2-7563-92af-8809fea528dc','work','handle','queued',1,4,'cli',NULL,NULL,NULL,'01a202b9-a7e2-7563-92af-88085a6b8cf0',0,0,'2000-01-01T10:07:31.298Z',NULL,NULL,NULL,NULL,NULL);
CREATE TABLE pause (
  plugin             TEXT PRIMARY KEY,
  since              TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "pause" VALUES('resting','2000-01-01T10:07:31.185Z');
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
INSERT INTO "plugin_facts" VALUES(1,'watch','watch.snapshot','01a202b9-a68a-73c6-8798-a3a996164602','poll','{"n":1}','2000-01-01T10:07:30.956Z');
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
INSERT INTO "plugin_state" VALUES('work','{"seen":1}','2000-01-01T10:07:30.931Z');
INSERT INTO "plugin_state" VALUES('watch','{"n":1}','2000-01-01T10:07:30.956Z');
CREATE TABLE schedule (
  plugin             TEXT NOT NULL,
  schedule           TEXT NOT NULL,     -- its id, `default` of the one without
  command            TEXT NOT NULL,
  hash               TEXT NOT NULL,     -- of the schedule's settings: another hash, another next_run
  anchor             TEXT,              -- when the last run was enqueued or ended; NULL before the first
  next_run           TEXT,              -- NULL while the plugin is not loaded
  PRIMARY KEY (plugin, schedule)
) STRICT, WITHOUT ROWID;
INSERT INTO "schedule" VALUES('sick','often','poll','1000 0','2000-01-01T10:07:30.837Z','2000-01-01T10:07:31.837Z');
INSERT INTO "schedule" VALUES('work','weekly','poll','604800000 0','2000-01-01T10:07:30.838Z','2000-01-01T10:07:30.838Z');
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
INSERT INTO "service" VALUES(1,'8572e3b0-9aed-4917-8248-1ae8da7f278a','ductile',28523,'0.1.0','2000-01-01T10:07:30.831Z',NULL,'/srv/ductile/config.yaml','d97911905a8d7a6452b6b1d5b0ca30909688cce4baba4f0831b1c117855ae3c6',NULL,NULL,0,NULL,NULL,NULL,86400000,100000);
CREATE INDEX job_queue_ready ON job_queue(plugin, seq) WHERE status = 'queued' AND next_retry_at IS NULL;
CREATE INDEX job_queue_retry ON job_queue(next_retry_at) WHERE next_retry_at IS NOT NULL;
CREATE INDEX job_queue_retry_set ON job_queue(retry_set_at) WHERE retry_set_at IS NOT NULL;
CREATE INDEX job_queue_outstanding ON job_queue(plugin, schedule)
  WHERE status IN ('queued', 'running') AND (schedule IS NOT NULL OR command = 'poll');
CREATE INDEX job_queue_init ON job_queue(plugin, seq) WHERE command = 'init' AND status = 'queued';
CREATE INDEX job_queue_dedupe ON job_queue(plugin, command, dedupe_key, completed_at)
  WHERE status = 'succeeded' AND dedupe_key IS NOT NULL;
CREATE INDEX job_queue_dead ON job_queue(seq) WHERE status = 'dead';
CREATE INDEX job_queue_dead_plugin ON job_queue(plugin, seq) WHERE status = 'dead';
CREATE INDEX job_queue_parent ON job_queue(parent_job_id) WHERE parent_job_id IS NOT NULL;
CREATE TRIGGER job_payload_of_deleted AFTER DELETE ON job_queue BEGIN
  DELETE FROM job_payload WHERE seq = old.seq;
END;
CREATE VIEW jobs AS
  SELECT job_queue.*, job_payload.payload
  FROM job_queue LEFT JOIN job_payload ON job_payload.seq = job_queue.seq;
CREATE INDEX job_log_plugin ON job_log(plugin, id, completed_at, status, duration_ms);
CREATE INDEX job_log_failed ON job_log(id) WHERE status != 'succeeded';
CREATE INDEX job_log_failed_plugin ON job_log(plugin, id) WHERE status != 'succeeded';
CREATE INDEX plugin_facts_plugin ON plugin_facts(plugin_name);
CREATE INDEX plugin_facts_type ON plugin_facts(plugin_name, fact_type);
CREATE INDEX plugin_facts_created ON plugin_facts(created_at);
CREATE INDEX schedule_next_run ON schedule(next_run) WHERE next_run IS NOT NULL;
CREATE INDEX schedule_anchor ON schedule(anchor) WHERE next_run IS NOT NULL;
CREATE UNIQUE INDEX job_queue_live ON job_queue(
  status DESC, (next_retry_at IS NOT NULL), iif(status = 'running', 0, seq)
) WHERE completed_at IS NULL;
CREATE INDEX job_queue_succeeded ON job_queue(plugin, completed_at) WHERE status = 'succeeded';
CREATE INDEX job_queue_dead_completed ON job_queue(completed_at) WHERE status = 'dead';
COMMIT;
