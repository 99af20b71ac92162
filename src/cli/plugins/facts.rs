//! `ductile plugins NAME --facts`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::configured;
use crate::cli::error::CliError;
use crate::cli::{open_reader, output};
use crate::state::facts::{self, Fact};
use crate::state::publish;

/// As much of a fact as is shown to people; `--json` has all of it.
const MOST_COLUMNS: usize = 500;

/// Shows the newest facts of a plugin, which need not be configured any more.
pub(super) fn facts(name: &str, limit: u32, json: bool, config: Option<&Path>) -> Result<ExitCode, CliError> {
    let (_, reader) = open_reader(config)?;
    let facts = facts::newest(&reader, name, limit)?;
    if facts.is_empty() {
        let known = publish::all_plugins(&reader)?;
        // Before the first start nobody has said which plugins there are.
        if !known.is_empty() {
            configured(&known, name)?;
        }
    }
    if json {
        output::json(&facts)?;
    } else if facts.is_empty() {
        output::message(format_args!("no facts of plugin `{name}`"));
    } else {
        let mut out = io::stdout().lock();
        facts.iter().try_for_each(|fact| write(&mut out, fact))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(out: &mut impl Write, fact: &Fact) -> io::Result<()> {
    let kind = output::first_line(&fact.fact_type);
    let (at, command) = (output::local(fact.created_at), output::first_line(&fact.command));
    writeln!(out, "{at}  {kind}  {}  by {command}  job {}", fact.seq, fact.job_id)?;
    let json = output::printable(fact.json.get()).replace('\n', " ");
    let shown: String = json.chars().take(MOST_COLUMNS).collect();
    let cut = if shown.len() < json.len() { " ..." } else { "" };
    writeln!(out, "    {shown}{cut}")
}
