#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ductile_fuzz::manifest::check(data));
