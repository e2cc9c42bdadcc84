use super::*;
use crate::scalar::Real;
use crate::small_gain::{Certifier, MapCertifier, MapVerdict, Mode, Region, Search, Structure, Tolerance, Update, Verdict};

fn toy() -> Game {
    Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, 10.0, 0.05, 1.0]), vec![0.0; 2]).unwrap()
}

fn file(region: &Region) -> CertificateFile {
    let Verdict::Certified(found) = Certifier::default().certify(&toy(), region).unwrap() else { unreachable!() };
    CertificateFile::new("toy", &toy(), found.certificate)
}

fn files() -> [CertificateFile; 3] {
    let (lo, hi) = ([-1.0; 2], [1.0; 2]);
    [Region::Free, Region::local(&lo, &hi).unwrap(), Region::constrained(&lo, &hi).unwrap()].map(|region| file(&region))
}

/// A text with the digest that it should have.
fn signed(text: &str) -> Vec<u8> {
    let Ok(Object(mut document)) = parse::<Object<Document>>(text.as_bytes()) else { return text.as_bytes().to_vec() };
    document.sha256.clear();
    document.sha256 = sha256(json(&document).unwrap().as_bytes());
    // The text itself may say what the document does not.
    let old = text.rfind("\"sha256\":\"").map(|at| at + 10).unwrap();
    format!("{}{}{}", &text[..old], document.sha256, &text[old + 64..]).into_bytes()
}

#[test]
fn files_are_read_as_they_were_written() {
    for file in files() {
        let text = file.to_json().unwrap();
        assert_eq!(CertificateFile::from_json(text.as_bytes()).unwrap(), file);
        assert_eq!(file.verify(Some(&toy())), Ok(Verified::Verified));
        let path = std::env::temp_dir().join(format!("gradus-certificate-{}.json", std::process::id()));
        file.write(&path).unwrap();
        assert_eq!(CertificateFile::read(&path).unwrap(), file);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn covers_are_read_as_they_were_written() {
    let game = Game::from_field(&[1; 3], |x| {
        (0..3).map(|i| 20.0 * x[i].powi(5) - 50.0 / 3.0 * x[i].powi(3) + 7.25 * x[i] + 0.3 * x[(i + 1) % 3]).collect()
    });
    let game = game.unwrap();
    let found = Certifier::default().certify(&game, &Region::local(&[-1.0; 3], &[1.0; 3]).unwrap());
    let Ok(Verdict::Certified(found)) = found else { unreachable!() };
    let file = CertificateFile::new("three", &game, found.certificate);
    let text = file.to_json().unwrap();
    assert!(text.contains("{\"bound\":{\"mu\":0},\"tree\":[{\"split\":[0,") && text.contains("{\"bound\":{\"norm\":[0,1]},"));
    let read = CertificateFile::from_json(text.as_bytes()).unwrap();
    assert!(read == file && read.verify(Some(&game)) == Ok(Verified::Verified));
    let forged = signed(&text.replacen("{\"mu\":0}", "{\"mu\":0.5}", 1));
    assert!(matches!(CertificateFile::from_json(&forged), Err(CertificateError::Format(_))));
}

#[test]
fn whole_metrics_and_updates_are_kept() {
    let zero_sum =
        Game::affine(&[2, 1], DMatrix::from_row_slice(3, 3, &[1.0, 0.2, 2.0, 0.0, 1.0, 0.5, -2.0, -0.5, 1.0]), vec![0.0; 3]).unwrap();
    let game = Game::from_losses(&[1, 1], |x| {
        let push = 3.0 * x[0] * x[1] + 0.1 * (x[0] * x[1]).sin();
        vec![x[0].square() + push, x[1].square() - push]
    });
    let game = game.unwrap();
    let updates = [
        Update::Euler { h: 0.05 },
        Update::Rk4 { h: 0.2 },
        Update::Extragradient { h: 0.1 },
        Update::Optimistic { h: 0.05 },
        Update::Consensus { h: 0.05, gamma: 0.1 },
        Update::Preconditioned { steps: vec![0.05, 0.04] },
    ];
    for (game, region) in [(zero_sum, Region::Free), (game, Region::local(&[-0.5; 2], &[0.5; 2]).unwrap())] {
        let search = Search { tolerance: Tolerance::Relative(1e-2), most_boxes: 2_000 };
        let certifier = Certifier { mode: Mode::BlockLmi(Structure::Full), search, ..Certifier::default() };
        let Verdict::Certified(found) = certifier.certify(&game, &region).unwrap() else { panic!("it is monotone") };
        let mut certificate = found.certificate;
        for update in updates.clone() {
            let found = MapCertifier { update, weights: vec![1.0; 2], search }.certify(&game, &region).unwrap();
            let MapVerdict::Contracts { certificate: map, .. } = found else { panic!("{found:?}") };
            certificate.maps.push(*map);
        }
        let file = CertificateFile::new("zero-sum", &game, certificate);
        let text = file.to_json().unwrap();
        let read = CertificateFile::from_json(text.as_bytes()).unwrap();
        assert!(read == file && read.verify(Some(&game)) == Ok(Verified::Verified));
        assert_eq!(read.verify(None), Err(CertificateError::GameNeeded));
        for (from, to) in [
            ("\"basis\":\"map\"", "\"basis\":\"euler\""),
            ("{\"euler\":{\"h\":", "{\"euler\":{\"h\":[\"0x1p+0\",1.0],\"h\":"),
            ("{\"euler\":{\"h\":", "{\"newton\":{\"h\":"),
            ("\"whole\":{\"margin\":", "\"whole\":null,\"hole\":{\"margin\":"),
            ("\"blocks\":[[", "\"blocks\":[[[],"),
            ("\"invariant\":", "\"invariance\":"),
        ] {
            assert!(text.contains(from), "{from}");
            let forged = signed(&text.replacen(from, to, 1));
            assert!(matches!(CertificateFile::from_json(&forged), Err(CertificateError::Format(_))), "{to}");
        }
    }
}

#[test]
fn many_leaves_have_a_file_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut many = file(&Region::local(&[-1.0; 2], &[1.0; 2]).unwrap());
    many.certificate.leaves = vec![many.certificate.leaves[0].clone(); MOST_LEAVES + 1];
    let path = folder.path().join("many.json");
    many.write(&path).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() < 10_000);
    assert_eq!(CertificateFile::read(&path).unwrap(), many);
    let leaves = folder.path().join("many.json.leaves");
    let mut text = std::fs::read(&leaves).unwrap();
    text.push(b' ');
    std::fs::write(&leaves, text).unwrap();
    assert!(matches!(CertificateFile::read(&path), Err(CertificateFileError::Certificate(CertificateError::Hash(_)))));
    let elsewhere = std::fs::read_to_string(&path).unwrap().replace("many.json.leaves", "../many.leaves");
    std::fs::write(&path, signed(&elsewhere)).unwrap();
    assert!(matches!(CertificateFile::read(&path), Err(CertificateFileError::Certificate(CertificateError::Format(_)))));
}

#[test]
fn keys_and_numbers_are_checked() {
    let text = files()[1].to_json().unwrap();
    let change = [
        ("\"format\":\"sgn-cert/1\"", "\"format\":\"sgn-cert/2\""),
        ("\"format\":\"sgn-cert/1\"", "\"format\":\"sgn-estimate/1\""),
        ("\"conditional\":false", "\"conditional\":false,\"conditional\":false"),
        ("\"conditional\":false", "\"conditional\":false,\"trust\":true"),
        ("\"conditional\":false,", ""),
        ("\"blocks\":null", "\"blocks\":[[1]]"),
        (",\"blocks\":null", ""),
        ("\"tree\":[{\"leaf\":0}]", "\"tree\":[{\"leaf\":0.5}]"),
        ("\"tree\":[{\"leaf\":0}]", "\"tree\":[{\"branch\":0}]"),
        ("\"tree\":[{\"leaf\":0}]", "\"tree\":[{\"leaf\":-1}]"),
        ("\"basis\":\"euler\"", "\"basis\":\"exact\""),
        ("\"whole\":null,", ""),
        ("\"maps\":[],", ""),
        ("\"whole\":null", "\"whole\":{\"margin\":[],\"lipschitz\":[]}"),
        ("\"rigor\":\"rigorous\"", "\"rigor\":\"sure\""),
        ("\"sets\":\"none\"", "\"sets\":\"ball\""),
        ("[\"0x1p+0\",1.0]", "[\"0x1p+0\",1.0000000000000002]"),
        ("[\"0x1p+0\",1.0]", "[\"0x1.0p+0\",1.0]"),
        ("[\"0x1p+0\",1.0]", "[\"0x2p-1\",1.0]"),
        ("[\"0x1p+0\",1.0]", "[\"0x1p+0\"]"),
        ("[\"0x1p+0\",1.0]", "[\"0x1p+0\",1.0,1.0]"),
        ("[\"0x1p+0\",1.0]", "1.0"),
        ("[\"0x1p+0\",1.0]", "[\"inf\",1e999]"),
        ("[\"0x1p+0\",1.0]", "[\"nan\",null]"),
        ("\"factor\":[", "\"factor\":[["),
        ("\"witness\":{\"x\":", "\"witness\":["),
    ];
    for (from, to) in change {
        assert!(text.contains(from), "{from}");
        let forged = signed(&text.replacen(from, to, 1));
        assert!(matches!(CertificateFile::from_json(&forged), Err(CertificateError::Format(_))), "{to}");
    }
    let changed = text.replacen("\"name\":\"toy\"", "\"name\":\"boy\"", 1);
    assert!(matches!(CertificateFile::from_json(changed.as_bytes()), Err(CertificateError::Hash(_))));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bombs = [deep.clone(), text.replacen("\"tree\":[", &format!("\"tree\":[{deep},"), 1), "{".into(), String::new(), "null".into()];
    assert!(bombs.iter().all(|bomb| matches!(CertificateFile::from_json(bomb.as_bytes()), Err(CertificateError::Format(_)))));
    let other = Game::affine(&[1, 1], DMatrix::identity(2, 2), vec![0.0; 2]).unwrap();
    assert!(matches!(files()[0].verify(Some(&other)), Err(CertificateError::Hash(_))));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
            #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = CertificateFile::from_json(&bytes);
        }

        /// A text with one part changed is refused, or is the same certificate, whatever its digest.
        #[test]
        fn a_changed_text_is_refused_or_proves_what_it_says(at in any::<prop::sample::Index>(), byte in any::<u8>(), which in 0usize..3) {
            thread_local!(static TEXTS: [String; 3] = files().map(|file| file.to_json().unwrap()));
            let mut bytes = TEXTS.with(|texts| texts[which].clone()).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(text) = String::from_utf8(bytes)
                && let Ok(file) = CertificateFile::from_json(&signed(&text))
                && file.verify(Some(&toy())).is_ok()
            {
                // What may change and still be true: a name, and numbers that claim less.
                let original = files()[which].certificate.clone();
                prop_assert!(file.certificate.alpha <= original.alpha && file.certificate.beta >= original.beta);
            }
        }
    }
}
