#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| presence::fuzz::watch_request(bytes));
