//! `ductile plugin`: for who writes one.

mod check;
mod input;
mod new;
mod report;
mod test;

use std::process::ExitCode;

use clap::Subcommand;

use super::error::CliError;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make a plugin that works: manifest, program, test, README
    New(new::Args),
    /// Run a plugin once as the daemon would, without daemon and database, and check what it does
    Test(test::Args),
}

pub(super) fn plugin(args: Args) -> Result<ExitCode, CliError> {
    match args.act {
        Act::New(args) => new::new(&args),
        Act::Test(args) => test::test(&args),
    }
}
