//! `ductile check`.

mod deep;
mod report;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::error::CliError;
use super::output;
use crate::active::{self, LoadedActive};
use crate::config::{self, ConfigError, Variables};
use deep::{Finding, Level};
use report::Report;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints every problem with its file, line and column. With --deep it also looks at what
`ductile start` needs: the state dir, the database (every page of it), free space on the disk, the
interpreter of each plugin, the address for webhooks. Nothing is changed, and a daemon that runs is
not disturbed.

Examples:
  ductile check
  ductile check --deep                                before the first start, or after a move
  ductile check --env-file /etc/ductile/environment   with the secrets that systemd gives

Exit codes: 0 all is well, also with warnings; 1 a plugin cannot be loaded, or --deep found an
error; 78 the configuration is wrong.")]
pub(super) struct Args {
    /// Take variables from this file, in the format of systemd's EnvironmentFile=, instead of the environment
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Look at the state dir, the database, the disk, interpreters and the listen address, too
    #[arg(long)]
    deep: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn check(args: Args, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let loaded = match load(&args, config) {
        Err(error) if args.json => {
            output::json(&Report::invalid(&error))?;
            return Ok(CliError::Config(error).exit_code());
        }
        loaded => loaded?,
    };
    let findings = if args.deep { deep::look(&loaded.active) } else { Vec::new() };
    let failed = !loaded.failures.is_empty() || findings.iter().any(|finding| finding.level == Level::Error);
    if args.json {
        output::json(&Report::valid(&loaded, &findings))?;
    } else {
        print(&loaded, &findings)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn load(args: &Args, config: Option<&Path>) -> Result<LoadedActive, ConfigError> {
    let variables = match &args.env_file {
        Some(path) => Variables::from_env_file(path)?,
        None => Variables::process(),
    };
    active::load(&config::find(config)?, &variables)
}

fn print(loaded: &LoadedActive, findings: &[Finding]) -> io::Result<()> {
    for warning in &loaded.warnings {
        output::message(format_args!("warning: {warning}"));
    }
    for failure in &loaded.failures {
        output::message(format_args!("error: plugin `{}` is not loaded: {}", failure.plugin, failure.reason));
    }
    let colours = output::colours();
    for Finding { level, about, text } in findings {
        let line = format!("{level:7}  {about:10}  {}", output::first_line(text));
        output::line(&level.paint().on(&line, colours))?;
    }
    if loaded.failures.is_empty() {
        let config = loaded.active.registry.config();
        let (plugins, routes) = (loaded.active.enabled().len(), config.routes.len());
        output::line(&format!("{} is valid; plugins enabled: {plugins}, routes: {routes}", config.path.display()))?;
    }
    Ok(())
}
