#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| muster::a2a::hostile::told(body));
