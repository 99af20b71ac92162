//! `ductile completions`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::error::CliError;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ductile completions bash > ~/.local/share/bash-completion/completions/ductile
  ductile completions zsh > \"${fpath[1]}/_ductile\"
  ductile completions fish > ~/.config/fish/completions/ductile.fish")]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn completions(args: &Args) -> Result<ExitCode, CliError> {
    // Not to stdout at once: it would panic when nobody reads.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ductile", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
