//! Which calls are repeated, and when.

use std::time::Duration;

use tracing::warn;

use super::error::ApiError;

/// The pauses before a call is repeated. Mailjet publishes no limits, and its 429 does not say how long to
/// wait.
const PAUSES: [u64; 6] = [1, 2, 4, 8, 16, 30];
/// How many of them are waited for when there is no answer at all, which may be a wrong address.
const PAUSES_WITHOUT_ANSWER: usize = 3;

/// What may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Nothing: the caller tries again itself.
    Nothing,
    /// Only a call that Mailjet has refused to look at, because repeating any other might make the change
    /// twice.
    Refused,
    /// Any call that failed for a reason that may pass.
    Transient,
}

impl Repeat {
    fn includes(self, error: &ApiError) -> bool {
        match error {
            ApiError::TooManyRequests { .. } => self != Repeat::Nothing,
            ApiError::NoAnswer { .. } | ApiError::Unavailable { .. } => self == Repeat::Transient,
            _ => false,
        }
    }
}

/// A call failed, after all its repetitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CallFailure {
    /// How the last attempt failed.
    pub(super) error: ApiError,
    /// Whether any attempt may have changed something although it failed.
    pub(super) may_have_changed: bool,
}

/// Calls, and calls again after a pause while `repeat` includes the failure.
pub(super) fn retry<T>(
    repeat: Repeat,
    sleep: impl Fn(Duration),
    mut call: impl FnMut() -> Result<T, ApiError>,
) -> Result<T, CallFailure> {
    let mut may_have_changed = false;
    let mut call = || {
        call().map_err(|error| {
            may_have_changed |= error.outcome_is_unknown();
            CallFailure { error, may_have_changed }
        })
    };
    let mut waited = Duration::ZERO;
    for (number, pause) in PAUSES.map(Duration::from_secs).into_iter().enumerate() {
        match call() {
            Err(failure)
                if number >= PAUSES_WITHOUT_ANSWER && matches!(failure.error, ApiError::NoAnswer { .. }) =>
            {
                return Err(failure);
            }
            Err(failure) if repeat.includes(&failure.error) => {
                let reason = match &failure.error {
                    ApiError::TooManyRequests { .. } => "too many requests (429)".to_owned(),
                    other => other.to_string(),
                };
                warn!("Mailjet: {reason}; trying again in {} s", pause.as_secs());
                sleep(pause);
                waited += pause;
            }
            other => return other,
        }
    }
    call().map_err(|failure| match failure.error {
        ApiError::TooManyRequests { .. } => {
            CallFailure { error: ApiError::TooManyRequests { waited }, ..failure }
        }
        _ => failure,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const TOO_MANY: ApiError = ApiError::TooManyRequests { waited: Duration::ZERO };

    fn pauses(repeat: Repeat, error: &ApiError) -> (Vec<u64>, ApiError) {
        let pauses: RefCell<Vec<u64>> = RefCell::default();
        let sleep = |pause: Duration| RefCell::borrow_mut(&pauses).push(pause.as_secs());
        let failed = retry::<()>(repeat, sleep, || Err(error.clone())).expect_err("it never succeeds");
        (pauses.into_inner(), failed.error)
    }

    #[test]
    fn calls_are_repeated_with_growing_pauses_and_not_for_ever() {
        let (paused, failed) = pauses(Repeat::Refused, &TOO_MANY);
        assert_eq!(paused, PAUSES);
        assert_eq!(failed, ApiError::TooManyRequests { waited: Duration::from_secs(61) });
    }

    #[test]
    fn a_host_that_does_not_answer_is_not_asked_for_long() {
        let error = ApiError::NoAnswer { api_url: String::new(), reason: String::new() };
        assert_eq!(pauses(Repeat::Transient, &error), (vec![1, 2, 4], error));
    }

    #[test]
    fn an_attempt_without_an_answer_is_remembered_whatever_comes_after_it() {
        let answers = RefCell::new(vec![
            ApiError::Forbidden { message: String::new() },
            ApiError::Unavailable { status: 502, message: String::new() },
        ]);
        let call = || Err(RefCell::borrow_mut(&answers).pop().expect("an answer"));
        let failed = retry::<()>(Repeat::Transient, |_| (), call).expect_err("it is forbidden");
        assert!(failed.may_have_changed && matches!(failed.error, ApiError::Forbidden { .. }), "{failed:?}");
    }

    #[test]
    fn only_what_is_safe_to_repeat_is_repeated() {
        let unavailable = ApiError::Unavailable { status: 502, message: String::new() };
        let cases = [
            (Repeat::Nothing, &TOO_MANY, false),
            (Repeat::Refused, &unavailable, false),
            (Repeat::Transient, &unavailable, true),
            (Repeat::Transient, &ApiError::Gone, false),
            (Repeat::Transient, &ApiError::AlreadyExists, false),
        ];
        for (repeat, error, is_repeated) in cases {
            assert_eq!(!pauses(repeat, error).0.is_empty(), is_repeated, "{repeat:?}, {error}");
        }
    }
}
