//! Tests of the whole backlog.
