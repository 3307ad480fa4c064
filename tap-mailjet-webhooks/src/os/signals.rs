//! The signals that ask a run to end in good order, and those that only stop other programs.

use std::io;

use catalog::plugin::signals;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// Returns a future that waits for a signal that asks the run to end: SIGTERM, SIGINT, SIGHUP, SIGQUIT or
/// SIGALRM. From now on, they no longer end the process by themselves, however often they come. If the run
/// takes too long to end, its deadline ends it.
///
/// A SIGHUP that the parent process has ignored stays ignored, as `nohup` wants it. SIGUSR1 and SIGUSR2,
/// which some log rotations send to everything, are logged and change nothing.
pub fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let is_ignored = signals::is_ignored(SignalKind::hangup().as_raw_value());
    let hangup = if is_ignored { None } else { Some(signal(SignalKind::hangup())?) };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut alarm = signal(SignalKind::alarm())?;
    // A write beyond the limit on file sizes (ulimit -f) then fails with an error, instead of ending the
    // process.
    drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
    let mut users = [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?];
    Ok(async move {
        let [user1, user2] = &mut users;
        let mut hangup = std::pin::pin!(received(hangup));
        let name = loop {
            let harmless = tokio::select! {
                _ = terminate.recv() => break "SIGTERM",
                _ = interrupt.recv() => break "SIGINT",
                () = &mut hangup => break "SIGHUP",
                _ = quit.recv() => break "SIGQUIT",
                _ = alarm.recv() => break "SIGALRM",
                _ = user1.recv() => "SIGUSR1",
                _ = user2.recv() => "SIGUSR2",
            };
            info!("{harmless}: ignored; SIGTERM stops the tap");
        };
        info!("{name}: stopping");
    })
}

async fn received(signal: Option<Signal>) {
    match signal {
        Some(mut signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
