//! The status page.
//!
//! | file | what it decides |
//! | --- | --- |
//! | [`headline`] | what the page says first, and what to do |
//! | [`wording`] | how numbers, ages and times are written |

mod headline;
mod wording;
