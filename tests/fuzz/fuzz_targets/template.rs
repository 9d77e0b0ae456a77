//! See [`relay_fuzz::template`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz::template(data));
