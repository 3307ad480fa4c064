//! For any event at all.
