//! What `ductile check --json` prints.

use serde::Serialize;

use super::deep::Finding;
use crate::active::LoadedActive;
use crate::config::{ConfigError, Problem};

#[derive(Serialize)]
pub(super) struct Report<'a> {
    /// Whether the configuration may be used; plugins that are not loaded do not change that.
    valid: bool,
    config: Option<String>,
    problems: Vec<ReportedProblem>,
    warnings: &'a [String],
    not_loaded: Vec<NotLoaded<'a>>,
    /// Of `--deep`.
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct NotLoaded<'a> {
    plugin: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct ReportedProblem {
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    key: Option<String>,
    message: String,
}

impl<'a> Report<'a> {
    pub(super) fn valid(loaded: &'a LoadedActive, findings: &'a [Finding]) -> Self {
        let config = Some(loaded.active.registry.config().path.display().to_string());
        let LoadedActive { warnings, failures, .. } = loaded;
        let not_loaded = failures.iter().map(|failure| NotLoaded { plugin: &failure.plugin, reason: &failure.reason });
        Self { valid: true, config, problems: Vec::new(), warnings, not_loaded: not_loaded.collect(), findings }
    }

    pub(super) fn invalid(error: &ConfigError) -> Self {
        let problems = match error {
            ConfigError::Invalid { problems, .. } => problems.iter().map(ReportedProblem::from).collect(),
            other => {
                let message = other.to_string();
                vec![ReportedProblem { file: None, line: None, column: None, key: None, message }]
            }
        };
        Self { valid: false, config: None, problems, warnings: &[], not_loaded: Vec::new(), findings: &[] }
    }
}

impl From<&Problem> for ReportedProblem {
    fn from(problem: &Problem) -> Self {
        let (line, column) = problem.location.unzip();
        Self {
            file: Some(problem.file.display().to_string()),
            line,
            column,
            key: Some(problem.path.to_string()).filter(|key| !key.is_empty()),
            message: problem.message.clone(),
        }
    }
}
