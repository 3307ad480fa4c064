//! Runs a command with a PostgreSQL server for the spools of the tests: `with-postgres cargo nextest run`.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

use end_to_end::database::Postgres;
use end_to_end::spool::POSTGRES_URL;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: with-postgres COMMAND [ARGUMENT]...");
        return ExitCode::from(2);
    };
    // Many tests run at once, and each tap has several connections.
    let server = Postgres::start_with(&["fsync=on", "max_connections=500"]);
    let status = Command::new(&program).args(arguments).env(POSTGRES_URL, server.url()).status();
    let status = status.unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
    drop(server);
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
