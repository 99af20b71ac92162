-- Schema 2: fewer pages to write for each job.

-- Jobs that are not over: the running one, those that may run (0), those that wait for their retry (1), each in order.
-- Serial dispatch: all that run would have the same place, so the database itself refuses a second one.
CREATE UNIQUE INDEX job_queue_live ON job_queue(
  status DESC, (next_retry_at IS NOT NULL), iif(status = 'running', 0, seq)
) WHERE completed_at IS NULL;
DROP INDEX job_queue_running;
DROP INDEX job_queue_queued;

-- Attempts are numbered as they end.
DROP INDEX job_log_completed;

-- What has succeeded is looked for plugin by plugin: by retention, by lists, and for the last success.
DROP INDEX job_queue_succeeded;
DROP INDEX job_queue_completed;
CREATE INDEX job_queue_succeeded ON job_queue(plugin, completed_at) WHERE status = 'succeeded';
CREATE INDEX job_queue_dead_completed ON job_queue(completed_at) WHERE status = 'dead';
