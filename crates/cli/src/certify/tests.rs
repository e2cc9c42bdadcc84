use std::fs;
use std::path::Path;

use gradus_base::Cancel;
use serde_json::Value;

use crate::{Session, run};

const TOY: &str = r#"{"format":"gradus-game/1","quadratic":{"dims":[1,1],"jacobian":[[1,10],[0.05,1]],"offset":[0,0]},
 "region":{"x1":[-1,1],"x2":[-1,1]}}"#;
const WAVES: &str = r#"{"format":"gradus-game/1","players":[
 {"name":"sea","variables":["x"],"field":["x + x^3/2 + 2*sin(y)"]},{"name":"wind","variables":["y"],"field":["y + 0.3*y^3 + 0.2*cos(x)"]}],
 "region":{"x":[-1,1],"y":[-1,1]}}"#;

/// Exit status, standard output and standard error of the command in a folder.
fn gradus(folder: &Path, arguments: &[&str]) -> (u8, String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let arguments = arguments.iter().map(|argument| match argument.strip_prefix('@') {
        Some(file) => folder.join(file).into_os_string(),
        None => argument.into(),
    });
    let arguments: Vec<_> = std::iter::once("gradus".into()).chain(arguments).collect();
    let session = &mut Session { experiments: &[], cancel: Cancel::new(), stdout: &mut stdout, stderr: &mut stderr, bars: false };
    let status = run(arguments, session);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(stdout), text(stderr));
    (status, stdout, stderr)
}

fn with(game: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("game.json"), game).unwrap();
    folder
}

/// The verdict on a game.
fn verdict(game: &str, more: &[&str]) -> (u8, Value) {
    let folder = with(game);
    let (status, stdout, _) = gradus(folder.path(), &[&["certify", "@game.json", "--json"], more].concat());
    (status, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}")))
}

fn near(value: &Value, expected: f64, tolerance: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - expected).abs() <= tolerance)
}

#[test]
fn the_toy_game_is_certified() {
    let (status, found) = verdict(TOY, &[]);
    assert_eq!((status, &found["verdict"], &found["format"]), (0, &"certified".into(), &"gradus-verdict/1".into()));
    assert!(near(&found["alpha"], 0.292_893_218_8, 1e-9) && near(&found["beta"], 1.707_106_781_2, 1e-9), "{found}");
    assert!(near(&found["weights"][1], 200.0, 1e-6) && found["weights"][0] == 1.0);
    assert!(near(&found["band"][0], 34.314_575_05, 1e-6) && near(&found["band"][1], 1_165.685_424_95, 1e-5));
    assert!(near(&found["steps"]["euler"], 0.201_010_13, 1e-7) && near(&found["steps"]["rk4"]["h"], 0.076_583_42, 1e-7));
    assert_eq!(found["steps"]["rk4"]["tier"], "incremental");
    assert_eq!(
        (&found["conditional"], &found["attained"], &found["mode"], &found["boxes"]),
        (&false.into(), &true.into(), &"uniform".into(), &1.into())
    );
    assert_eq!(found["bounds"]["L"][0][1], 10.0);
    assert_eq!(found["equilibrium"]["point"], serde_json::json!([0.0, 0.0]));
    assert_eq!(found["reasons"], serde_json::json!([]));
    let (status, free) = verdict(&TOY.replace(",\n \"region\":{\"x1\":[-1,1],\"x2\":[-1,1]}", ""), &[]);
    assert_eq!((status, &free["conditional"]), (0, &false.into()));
    let one_way = TOY.replace("0.05", "0");
    assert_eq!(verdict(&one_way, &[]).1["band"][1], Value::Null);
}

#[test]
fn options_are_heeded() {
    let (status, found) = verdict(WAVES, &["--mode", "per-box", "--tol", "1e-3", "--max-boxes", "3000"]);
    assert_eq!((status, &found["mode"]), (0, &"per-box".into()));
    assert!(found["alpha"].as_f64().unwrap() > 0.7 && near(&found["bounds"]["L"][0][1], 2.0, 1e-3));
    let (status, found) = verdict(TOY, &["--weights", "2,200"]);
    assert_eq!((status, &found["weights"]), (0, &serde_json::json!([1.0, 100.0])));
    let (status, found) = verdict(TOY, &["--weights", "1,1"]);
    assert_eq!((status, &found["verdict"], &found["reasons"][0]["code"]), (1, &"refused".into(), &"NonPositiveMargin".into()));
    for (weights, code) in
        [("1,-1", "InvalidWeight"), ("1,x", "InvalidWeight"), ("1", "InvalidWeight"), ("1,inf", "InvalidWeight"), ("", "InvalidWeight")]
    {
        let (status, found) = verdict(TOY, &["--weights", weights]);
        assert_eq!((status, &found["error"]["code"]), (2, &code.into()), "{weights}");
    }
    for wrong in [["--tol", "0"], ["--tol", "nan"], ["--max-boxes", "0"], ["--mode", "both"], ["--threads", "0"]] {
        let folder = with(TOY);
        let (status, stdout, stderr) = gradus(folder.path(), &[&["certify", "@game.json", "--json"], &wrong[..]].concat());
        assert!(status == 2 && stdout.is_empty() && stderr.starts_with("error: ") && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn signs_and_updates_of_their_own() {
    let pennies = TOY.replace("10],[0.05", "5],[-5");
    let (status, refused) = verdict(&pennies, &[]);
    assert_eq!((status, &refused["reasons"][0]["code"]), (1, &"SmallGainViolated".into()));
    let (status, found) = verdict(&pennies, &["--mode", "block-lmi", "--map", "rk4:0.3", "--map", "euler:1e308", "--map", "euler:0.2"]);
    assert_eq!((status, &found["mode"], &found["band"]), (0, &"block-lmi".into(), &Value::Null));
    assert!(near(&found["alpha"], 1.0, 1e-6) && near(&found["beta"], 26f64.sqrt(), 1e-6), "{found}");
    assert_eq!(found["blocks"], serde_json::json!([[[1.0]], [[1.0]]]));
    let maps = &found["maps"];
    assert!(maps[0]["verdict"] == "contracts" && near(&maps[0]["factor"], 0.725_951, 1e-5), "{maps}");
    assert!(maps[1]["verdict"] != "contracts" && maps[2]["verdict"] == "expands", "{maps}");

    let folder = with(&pennies);
    let arguments =
        ["certify", "@game.json", "--mode", "block-lmi", "--map", "extragradient:0.1", "--cert", "@cert.json", "--html", "@page.html"];
    let (status, text, _) = gradus(folder.path(), &arguments);
    assert!(status == 0 && text.contains("extragradient") && fs::read_to_string(folder.path().join("page.html")).unwrap().contains("<svg"));
    let (status, text, _) = gradus(folder.path(), &["verify", "@cert.json", "--game", "@game.json"]);
    assert!(status == 0 && text.contains(": Verified"), "{text}");
    let (status, _, error) = gradus(folder.path(), &["verify", "@cert.json"]);
    assert!(status == 1 && error.contains("only be checked with the game"), "{error}");
    for wrong in ["rk4", "rk4:0", "rk4:x", "newton:0.1"] {
        let (status, _, error) = gradus(folder.path(), &["certify", "@game.json", "--map", wrong]);
        assert!(status == 2 && error.contains("--map"), "{wrong}: {error}");
    }
}

#[test]
fn markov_games() {
    let game = r#"{"format":"gradus-game/1","markov":{"states":2,"actions":[2,2],"discount":0.9,"temperature":1,
        "rewards":[[[1,-1,-1,1],[1,-1,-1,1]],[[1,-1,-1,1],[1,-1,-1,1]]],
        "transitions":[[[0.9,0.1],[0.5,0.5],[0.5,0.5],[0.1,0.9]],[[0.9,0.1],[0.5,0.5],[0.5,0.5],[0.1,0.9]]],"start":[1,0]},
        "region":{"logits":[-0.2,0.2]}}"#;
    let (status, found) = verdict(game, &["--tol", "1e-3"]);
    assert!(status == 0 && found["alpha"].as_f64().is_some_and(|alpha| (0.35..0.361).contains(&alpha)), "{found}");
    for (from, to) in [("\"discount\":0.9", "\"discount\":1"), ("\"temperature\":1", "\"temperature\":0"), ("[0.9,0.1]", "[0.9,0.2]")] {
        let (status, found) = verdict(&game.replacen(from, to, 1), &[]);
        assert_eq!((status, &found["error"]["code"]), (2, &"MarkovSpec".into()), "{to}");
    }
    let (status, found) = verdict(&game.replace("[-0.2,0.2]", "[-0.6,0.6]"), &["--max-boxes", "20"]);
    assert_eq!((status, &found["reasons"][0]["code"]), (3, &"Inconclusive".into()));
    assert_eq!(found["reasons"][0]["worst_box"].as_array().map(Vec::len), Some(4));
}

#[test]
fn refusals_and_open_ends() {
    let rotation = TOY.replace("[[1,10],[0.05,1]]", "[[1,5],[-5,1]]");
    let (status, found) = verdict(&rotation, &[]);
    let reason = &found["reasons"][0];
    assert_eq!((status, &found["verdict"], &reason["code"]), (1, &"refused".into(), &"SmallGainViolated".into()));
    assert!(near(&reason["rho"], 5.0, 1e-9) && reason["worst_cycle"] == serde_json::json!([0, 1]) && reason["point"].is_array());
    for key in ["alpha", "beta", "weights", "band", "steps"] {
        assert_eq!(found[key], Value::Null, "{key}");
    }
    let concave = WAVES.replace("x + x^3/2", "x^3/2 - 0.1*x");
    let (status, found) = verdict(&concave, &[]);
    assert_eq!((status, &found["reasons"][0]["code"], &found["reasons"][0]["player"]), (1, &"NonPositiveCurvature".into(), &0.into()));
    let cancels = WAVES.replace("x + x^3/2 + 2*sin(y)", "x^5/5 - x^3/1.5 + 1.2*x").replace("[-1,1],\"y\"", "[-2,2],\"y\"");
    let (status, found) = verdict(&cancels, &["--max-boxes", "1"]);
    assert_eq!((status, &found["verdict"], &found["reasons"][0]["code"]), (3, &"inconclusive".into(), &"Inconclusive".into()));
    let folder = with(&rotation);
    let (status, stdout, stderr) = gradus(folder.path(), &["certify", "@game.json", "--cert", "@cert.json"]);
    assert!(status == 1 && stderr.is_empty() && stdout.contains("loop gain 25") && stdout.contains("player1"), "{stdout}");
    assert!(!folder.path().join("cert.json").exists());
}

#[test]
fn bad_games_are_named() {
    let cases = [
        ("{", "Format"),
        ("{\"format\":\"gradus-game/2\"}", "Format"),
        (&WAVES.replace("sin(y)", "sin(z)"), "Formula"),
        (&WAVES.replace("sin(y)", "abs(y)"), "Formula"),
        (&WAVES.replace("[-1,1],\"y\"", "[1,-1],\"y\""), "InvalidRegion"),
        (&WAVES.replace("x + x^3/2", "x + 1/x"), "NonFinite"),
        (&WAVES.replace("x + x^3/2", "x + ln(x)"), "NonFinite"),
        (&TOY.replace("[1,1]", "[2]"), "Dimension"),
    ];
    for (game, code) in cases {
        let (status, found) = verdict(game, &[]);
        assert_eq!((status, &found["error"]["code"], &found["format"]), (2, &code.into(), &"gradus-verdict/1".into()), "{game}");
    }
    let (_, found) = verdict(&WAVES.replace("sin(y)", "sin(z)"), &[]);
    assert_eq!((&found["error"]["player"], &found["error"]["column"]), (&0.into(), &19.into()));
    let folder = with("{}");
    let (status, stdout, stderr) = gradus(folder.path(), &["certify", "@none.json"]);
    assert!(status == 2 && stdout.is_empty() && stderr.starts_with("error: ") && stderr.contains("none.json"));
}

#[test]
fn certificates_are_written_and_verified() {
    let folder = with(WAVES);
    let arguments = ["certify", "@game.json", "--cert", "@cert.json", "--html", "@page.html", "--report", "@verdict.json"];
    let (status, stdout, stderr) = gradus(folder.path(), &arguments);
    assert!(
        status == 0
            && stderr.is_empty()
            && stdout.starts_with("certified: gradient play contracts")
            && stdout.contains("0 sea (x); 1 wind (y)")
    );
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("The game of sea, wind") && page.contains("timescale band"));
    let report: Value = serde_json::from_slice(&fs::read(folder.path().join("verdict.json")).unwrap()).unwrap();
    assert_eq!(report["verdict"], "certified");
    let verify = |more: &[&str]| gradus(folder.path(), &[&["verify", "@cert.json"], more].concat());
    let (status, stdout, _) = verify(&["--game", "@game.json"]);
    assert!(status == 0 && stdout.contains(": Verified\n"), "{stdout}");
    let (status, stdout, _) = verify(&["--json"]);
    assert!(status == 0 && serde_json::from_str::<Value>(&stdout).unwrap()["verdict"] == "VerifiedGivenBounds");
    fs::write(folder.path().join("other.json"), TOY).unwrap();
    let (status, stdout, stderr) = verify(&["--game", "@other.json", "--json"]);
    assert!(status == 1 && stdout.contains("Rejected") && stderr.contains("another game"), "{stderr}");
    // The same game on another region, and of players who are confined to it.
    for other in [WAVES.replace("[-1,1],\"y\"", "[-2,1],\"y\""), WAVES.replace("\"region\"", "\"constrained\":true,\"region\"")] {
        fs::write(folder.path().join("other.json"), other).unwrap();
        let (status, _, stderr) = verify(&["--game", "@other.json"]);
        assert!(status == 1 && stderr.contains("another region"), "{stderr}");
    }
    fs::write(folder.path().join("other.json"), WAVES.replace("[-1,1],\"y\"", "[-0.5,1],\"y\"")).unwrap();
    assert_eq!(verify(&["--game", "@other.json"]).0, 0);
    // A changed digit.
    let cert = folder.path().join("cert.json");
    let text = fs::read_to_string(&cert).unwrap().replacen("\"conditional\":false", "\"conditional\":true", 1);
    fs::write(&cert, text).unwrap();
    let (status, stdout, stderr) = verify(&[]);
    assert!(status == 1 && stdout.is_empty() && stderr.starts_with("error: ") && stderr.contains("rejected"));
    fs::write(&cert, "[".repeat(100_000)).unwrap();
    assert_eq!(verify(&[]).0, 1);
    assert_eq!(gradus(folder.path(), &["verify", "@none.json"]).0, 2);
    assert_eq!(gradus(folder.path(), &["verify", "@game.json", "--game", "@none.json"]).0, 2);
    // A page that someone else wrote is not replaced, nor is a folder.
    fs::write(folder.path().join("page.html"), "mine").unwrap();
    assert_eq!(gradus(folder.path(), &arguments).0, 2);
    assert_eq!(fs::read_to_string(folder.path().join("page.html")).unwrap(), "mine");
    assert_eq!(gradus(folder.path(), &["certify", "@game.json", "--cert", "@"]).0, 2);
}
