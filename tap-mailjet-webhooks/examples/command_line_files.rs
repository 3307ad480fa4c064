//! Writes the man pages and shell completions of both programs, which follow from their command lines. Used
//! by `scripts/install`.
//!
//! Usage: `command_line_files DIRECTORY`. The directory is a prefix such as `/usr/local`.

use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;

fn main() -> Result<()> {
    let prefix =
        std::env::args_os().nth(1).ok_or_else(|| Error::other("usage: command_line_files DIRECTORY"))?;
    let prefix = PathBuf::from(prefix);
    for command in [tap_mailjet_webhooks::cli::Cli::command(), target_jsonl::cli::Cli::command()] {
        let man = directory(&prefix, "share/man/man1")?;
        clap_mangen::generate_to(command.clone(), man)?;
        complete(&command, Shell::Bash, &directory(&prefix, "share/bash-completion/completions")?, "{}")?;
        complete(&command, Shell::Zsh, &directory(&prefix, "share/zsh/site-functions")?, "_{}")?;
        complete(&command, Shell::Fish, &directory(&prefix, "share/fish/vendor_completions.d")?, "{}.fish")?;
    }
    Ok(())
}

fn directory(prefix: &Path, below: &str) -> Result<PathBuf> {
    let directory = prefix.join(below);
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Writes completions for one shell. `file` is the name that the shell looks for, with `{}` for the
/// program's.
fn complete(command: &Command, shell: Shell, directory: &Path, file: &str) -> Result<()> {
    let name = command.get_name();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command.clone(), name, &mut text);
    fs::write(directory.join(file.replace("{}", name)), text)
}
