//! The listener with a spool that stores nothing. `scripts/bench` measures the cost of durability against it.
//!
//! Usage: `answer_without_spooling ADDRESS TOKEN`. It runs until it is killed.

use std::time::Duration;

use tap_mailjet_webhooks::listener::token::Token;
use tap_mailjet_webhooks::listener::{self, ActiveTokens, ConnectionLimits, Guards, Setup, Traffic};
use tap_mailjet_webhooks::spool::{Append, AppendError, Batch, Budget, Receipt, Reservation};

/// A spool that discards everything and reports success.
#[derive(Clone)]
struct NullSpool {
    budget: Budget,
}

impl Append for NullSpool {
    fn reserve(&self, bytes: usize) -> Result<Reservation, AppendError> {
        self.budget.reserve(bytes)
    }

    async fn append(&self, batch: Batch) -> Result<Receipt, AppendError> {
        Ok(batch.receipt())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(token)) = (arguments.next(), arguments.next()) else {
        return Err("usage: answer_without_spooling ADDRESS TOKEN".into());
    };
    let token = Token::parse(token).ok_or("TOKEN has 64 lower-case hexadecimal digits")?;
    let guards = Guards {
        tokens: ActiveTokens::from_config(&[token.hash()]),
        addresses: None,
        credentials: None,
        max_body_bytes: 20_000_000,
    };
    let limits = ConnectionLimits {
        max_connections: 1024,
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(30),
        stop_timeout: Duration::from_secs(1),
    };
    let setup = Setup { guards, limits, tls: None };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let spool = NullSpool { budget: Budget::new(64 << 20) };
        listener::serve(listener, setup, spool, Traffic::default(), std::future::pending()).await;
        Ok(())
    })
}
