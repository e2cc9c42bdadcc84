#![no_main]
//! The file of a certificate; what is accepted must be written as it was read, and be checked without a panic.

use gradus_games::file::certificate::CertificateFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = CertificateFile::from_json(bytes) else { return };
    let again = file.to_json().ok().and_then(|text| CertificateFile::from_json(text.as_bytes()).ok());
    assert_eq!(again.as_ref(), Some(&file));
    let _ = file.verify(None);
});
