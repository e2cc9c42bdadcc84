use super::*;
use crate::scalar::Real;

/// Two players with one variable each, whose parts may be replaced.
fn toy(players: &str, rest: &str) -> String {
    format!(r#"{{"format":"gradus-game/1","players":[{players}]{rest}}}"#)
}

const FIRST: &str = r#"{"name":"a","variables":["x"],"loss":"x^2/2 + k*x*y"}"#;
const SECOND: &str = r#"{"name":"b","variables":["y"],"loss":"y^2/2"}"#;
const REST: &str = r#","parameters":{"k":0.5},"region":{"x":[-1,1],"y":[-1,1]}"#;
const QUADRATIC: &str = r#"{"format":"gradus-game/1",
 "quadratic":{"dims":[2,1],"jacobian":[[2,0.5,1],[0.5,2,0],[-0.3,0,2]],"offset":[0,0,7]},
 "region":{"x1":[-1,1],"x2":[-1,1],"x3":[-1,1]}}"#;

const MARKOV: &str = r#"{"format":"gradus-game/1",
 "markov":{"states":2,"actions":[2,2],"discount":0.9,"temperature":1,
  "rewards":[[[1,-1,-1,1],[1,-1,-1,1]],[[1,-1,-1,1],[1,-1,-1,1]]],
  "transitions":[[[0.9,0.1],[0.5,0.5],[0.5,0.5],[0.1,0.9]],[[0.9,0.1],[0.5,0.5],[0.5,0.5],[0.1,0.9]]],
  "start":[1,0]},
 "region":{"logits":[-0.2,0.2]}}"#;

fn good() -> String {
    toy(&format!("{FIRST},{SECOND}"), REST)
}

fn parse(text: &str) -> Result<GameFile, GameFileError> {
    GameFile::parse(text.as_bytes())
}

#[track_caller]
fn refused(text: &str, code: &str, message: &str) -> GameFileError {
    let error = parse(text).expect_err(text);
    let found = error.to_string();
    assert!(error.code() == code && found.contains(message), "{text}\n{}: {found}", error.code());
    assert!(found.chars().count() < 1000 && !found.contains(char::is_control), "{found:?}");
    error
}

/// The good file with one part replaced.
#[track_caller]
fn with(from: &str, to: &str) -> String {
    let text = good();
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

fn side(lo: f64, hi: f64) -> Interval {
    Interval::new(lo, hi).unwrap()
}

#[test]
fn games_of_losses_are_read() {
    let file = parse(&good()).unwrap();
    assert_eq!((file.players, file.variables), (vec!["a".to_string(), "b".into()], vec!["x".to_string(), "y".into()]));
    assert_eq!((file.region, file.constrained), (Some(vec![side(-1.0, 1.0); 2]), false));
    assert_eq!(file.game, Game::from_losses(&[1, 1], |x| vec![x[0].powi(2) / 2.0 + 0.5 * x[0] * x[1], x[1].powi(2) / 2.0]).unwrap());
    assert!(file.game.is_affine());
    assert!(parse(&with(REST, &format!(r#"{REST},"constrained":true"#))).unwrap().constrained);
    // Keys in any order, and sides in any order.
    let turned = r#"{"region":{"y":[0,1],"x":[-2,-1e-3]},"players":[
        {"loss":"x^2","variables":["x"],"name":"a"},{"field":["y - x"],"name":"","variables":["y"]}],"format":"gradus-game/1"}"#;
    assert_eq!(parse(turned).unwrap().region, Some(vec![side(-2.0, -1e-3), side(0.0, 1.0)]));
}

#[test]
fn variables_are_ordered_by_player_and_as_listed() {
    let text = r#"{"format":"gradus-game/1","players":[{"name":"one","variables":["z","a"],"field":["z - c","2*a"]},
        {"name":"two","variables":["c"],"loss":"c^2 + z*c"}],"region":{"a":[0,1],"c":[0,2],"z":[0,3]}}"#;
    let file = parse(text).unwrap();
    assert_eq!(file.variables, ["z", "a", "c"]);
    assert_eq!(file.game.field(&[1.0, 2.0, 3.0]), [-2.0, 4.0, 7.0]);
    assert_eq!(file.region.unwrap().iter().map(|side| side.hi()).collect::<Vec<_>>(), [3.0, 1.0, 2.0]);
}

#[test]
fn quadratic_games_are_read() {
    let file = parse(QUADRATIC).unwrap();
    assert_eq!(
        (file.players, file.variables),
        (vec!["player1".to_string(), "player2".into()], vec!["x1".into(), "x2".into(), "x3".into()])
    );
    assert_eq!(file.game.field(&[1.0, 2.0, 3.0]), [6.0, 4.5, 12.7]);
    assert_eq!(file.game.dimensions(), [2, 1]);
    let free = parse(r#"{"format":"gradus-game/1","quadratic":{"dims":[1,1],"jacobian":[[1,10],[0.05,1]],"offset":[0,-1]}}"#).unwrap();
    assert_eq!((free.region, free.game.jacobian(&[0.0, 0.0])[(0, 1)]), (None, 10.0));
}

#[test]
fn markov_games_are_read() {
    let file = parse(MARKOV).unwrap();
    assert_eq!(file.players, ["player1", "player2"]);
    assert_eq!(file.variables, ["u1_s0_a0", "u1_s1_a0", "u2_s0_a0", "u2_s1_a0"]);
    assert_eq!((file.region, file.constrained), (Some(vec![side(-0.2, 0.2); 4]), false));
    let expected = crate::zoo::cooperative_markov_2x2().unwrap().game;
    assert_eq!((&file.game, file.game.canonical()), (&expected, expected.canonical()));
    let uniform = parse(&MARKOV.replace("\"start\"", "\"entropy\":\"uniform\",\"start\"")).unwrap();
    let occupancy = parse(&MARKOV.replace("\"start\"", "\"entropy\":\"occupancy\",\"start\"")).unwrap();
    assert_eq!((uniform.game, occupancy.game.jacobian(&[0.0; 4])[(0, 0)]), (expected, 0.55));
    assert!(parse(&MARKOV.replace("}}", "},\"constrained\":true,\"parameters\":{\"k\":1}}")).unwrap().constrained);
}

#[test]
fn markov_games_that_are_none_are_refused() {
    #[track_caller]
    fn bad(from: &str, to: &str, code: &str, message: &str) {
        assert!(MARKOV.contains(from), "{from}");
        refused(&MARKOV.replacen(from, to, 1), code, message);
    }
    for discount in ["1", "-0.5", "1e300"] {
        bad("\"discount\":0.9", &format!("\"discount\":{discount}"), "MarkovSpec", "the discount is");
    }
    bad("\"temperature\":1", "\"temperature\":0", "MarkovSpec", "the temperature is 0, but must be positive");
    bad("\"temperature\":1", "\"temperature\":-1", "MarkovSpec", "the temperature is -1");
    bad("[0.5,0.5]", "[0.5,0.4]", "MarkovSpec", "the kernel in state 0 for joint action (0, 1) is 0.9, but must be 1 within 1e-9");
    bad("[0.5,0.5]", "[0.5,0.50000001]", "MarkovSpec", "joint action (0, 1)");
    bad("[0.5,0.5]", "[1.5,-0.5]", "MarkovSpec", "state 1 of the kernel in state 0 for joint action (0, 1) is -0.5");
    bad("\"start\":[1,0]", "\"start\":[1,1]", "MarkovSpec", "the start is 2");
    bad("\"start\":[1,0]", "\"start\":[2,-1]", "MarkovSpec", "the probability of state 1 of the start is -1");

    bad("\"states\":2", "\"states\":3", "Dimension", "`start` has 2 entries, and `states` is 3");
    bad("\"states\":2", "\"states\":18446744073709551615", "Dimension", "`states` is 18446744073709551615");
    bad("\"states\":2", "\"states\":0", "Dimension", "`start` has 2 entries, and `states` is 0");
    bad("[2,2]", "[2]", "Dimension", "players, at least: expected 2, got 1");
    bad("[2,2]", "[]", "Dimension", "players, at least: expected 2, got 0");
    bad("[2,2]", "[2,1]", "Dimension", "actions of player 2, at least: expected 2, got 1");
    bad("[2,2]", "[2,3]", "Dimension", "joint actions with rewards of player 1 in state 0: expected 6, got 4");
    bad("[2,2]", "[2,2,2]", "Dimension", "players with rewards: expected 3, got 2");
    bad("[2,2]", "[9223372036854775807,9223372036854775807]", "Dimension", "joint actions with rewards of player 1 in state 0");
    bad("[1,-1,-1,1]", "[1,-1,-1]", "Dimension", "joint actions with rewards of player 1 in state 0: expected 4, got 3");
    bad("[[1,-1,-1,1],[1,-1,-1,1]]", "[[1,-1,-1,1]]", "Dimension", "states with rewards of player 1: expected 2, got 1");
    bad("[0.1,0.9]", "[0.1,0.8,0.1]", "Dimension", "next states in state 0 for joint action (1, 1): expected 2, got 3");
    bad(",[0.1,0.9]", "", "Dimension", "joint actions with transitions in state 0: expected 4, got 3");

    bad("\"logits\"", "\"u1_s0_a0\"", "InvalidRegion", "region of `u1_s0_a0`: a Markov game has a region of `logits`");
    bad("[-0.2,0.2]", "[0.2,-0.2]", "InvalidRegion", "region of `logits`: lo 0.2 is not below hi -0.2");
    bad("[-0.2,0.2]", "[0.2]", "InvalidRegion", "region of `logits`: expected two numbers, got 1");
    bad("{\"logits\":[-0.2,0.2]}", "{}", "InvalidRegion", "region of `logits` is missing");
    bad(",\n \"region\":{\"logits\":[-0.2,0.2]}", "", "InvalidRegion", "`region` is missing: with `markov`");
    bad("}}", "},\"parameters\":{\"u1_s0_a0\":1}}", "Formula", "`u1_s0_a0` is both a variable and a parameter");

    bad("\"states\":2,", "", "Format", "missing field `states`");
    bad("\"states\":2", "\"states\":[\"a\",\"b\"]", "Format", "expected usize");
    bad("\"states\":2", "\"states\":2,\"states\":2", "Format", "duplicate field `states`");
    bad("\"discount\"", "\"gamma\"", "Format", "unknown field `gamma`");
    bad("\"discount\":0.9", "\"discount\":null", "Format", "expected f64");
    bad("[1,-1,-1,1]", "[1,-1,-1,1e999]", "Format", "out of range");
    bad("\"start\"", "\"entropy\":\"none\",\"start\"", "Format", "`entropy` is `none`, and must be `uniform` or `occupancy`");
    bad("\"start\"", "\"entropy\":null,\"start\"", "Format", "expected a string");
    refused(&toy(&format!("{FIRST},{SECOND}"), &format!("{REST},\"markov\":null")), "Format", "expected an object");
    let markov = MARKOV.split_once("\"markov\":").unwrap().1.split_once(",\n \"region\"").unwrap().0;
    let with_players = toy(&format!("{FIRST},{SECOND}"), &format!("{REST},\"markov\":{markov}"));
    refused(&with_players, "Format", "both `players` and `markov`: only one of them");
    let quadratic = "\"quadratic\":{\"dims\":[1,1],\"jacobian\":[[1,0],[0,1]],\"offset\":[0,0]}";
    bad("\"markov\"", &format!("{quadratic},\"markov\""), "Format", "both `quadratic` and `markov`: only one of them");
    refused(
        &with_players.replacen("\"markov\"", &format!("{quadratic},\"markov\""), 1),
        "Format",
        "`players`, `quadratic` and `markov`: only one",
    );
}

/// As many variables as there may be, and more.
#[test]
fn markov_games_have_a_limit() {
    let with_states = |states: usize| {
        let list = |entry: &str| vec![entry; states].join(",");
        let row = format!("[1{}]", ",0".repeat(states - 1));
        let rewards = format!("[{}]", list("[0,0,0,1]"));
        let transitions = list(&format!("[{row},{row},{row},{row}]"));
        format!(
            r#"{{"format":"gradus-game/1","markov":{{"states":{states},"actions":[2,2],"discount":0.5,"temperature":1,
            "rewards":[{rewards},{rewards}],"transitions":[{transitions}],"start":{row}}},"region":{{"logits":[-1,1]}}}}"#
        )
    };
    assert_eq!(parse(&with_states(16)).unwrap().game.size(), 32);
    refused(&with_states(129), "Dimension", "258 variables: of a Markov game there may be 64 at most");
}

#[test]
fn json_that_is_none_is_refused_with_its_place() {
    refused("", "Format", "line 1, column 0");
    refused("[1]", "Format", "expected an object");
    refused(&good()[..40], "Format", "line 1, column 40");
    refused(&(good() + "\n {}"), "Format", "line 2, column 2");
    refused(&with("0.5", "NaN"), "Format", "line 1, column");
    refused(&with("0.5", "Infinity"), "Format", "line 1, column");
    refused(&with("0.5", "-Infinity"), "Format", "line 1, column");
    refused(&with("0.5", "1e999"), "Format", "out of range");
    refused(&with("[-1,1]", "[-1,1e309]"), "Format", "out of range");
    refused(&with("0.5", "\"0.5\""), "Format", "expected f64");
    refused(&with("0.5", "null"), "Format", "expected f64");
    refused(&with("0.5", "05"), "Format", "invalid number");
    refused(&"[".repeat(1_000_000), "Format", "expected an object");
    refused(&with("\"x\"", &"[".repeat(1_000_000)), "Format", "expected a string");
    refused(&with("0.5", &"{\"a\":".repeat(1_000_000)), "Format", "expected f64");
    refused(&with("[-1,1]", &"[".repeat(1_000_000)), "Format", "expected f64");
    refused(&format!("{{\"a\":{}", "[".repeat(1_000_000)), "Format", "unknown field `a`");
    refused("[[\"gradus-game/1\"]]", "Format", "expected an object");
}

#[test]
fn text_is_utf_8_without_a_mark() {
    refused(&format!("\u{feff}{}", good()), "Format", "byte order mark");
    for bytes in [&b"\xff\xfe{\0}\0"[..], b"{\"format\":\"\xe9\"}"] {
        let error = GameFile::parse(bytes).unwrap_err();
        assert!(error.code() == "Format" && error.to_string().contains("UTF-8"), "{error}");
    }
}

#[test]
fn keys_are_the_known_ones_and_each_is_there_once() {
    refused(&with("\"format\"", "\"formats\""), "Format", "unknown field `formats`");
    refused(&with("\"format\":\"gradus-game/1\",", ""), "Format", "missing field `format`");
    refused(&with("game/1", "game/2"), "Format", "gradus-game/2");
    refused(&with("\"gradus-game/1\"", "1"), "Format", "expected a string");
    refused(&with("\"name\":\"a\",", "\"name\":\"a\",\"nom\":\"a\","), "Format", "unknown field `nom`");
    refused(&with("\"name\":\"a\",", ""), "Format", "missing field `name`");
    refused(&with("\"variables\":[\"x\"],", ""), "Format", "missing field `variables`");
    refused(&with(REST, &format!("{REST},\"regions\":{{}}")), "Format", "unknown field");
    refused(&QUADRATIC.replace("\"offset\":[0,0,7]", "\"offset\":[0,0,7],\"name\":1"), "Format", "unknown field `name`");
    refused(&QUADRATIC.replace(",\"offset\":[0,0,7]", ""), "Format", "missing field `offset`");

    refused(&with("\"format\":", "\"format\":\"gradus-game/1\",\"format\":"), "Format", "duplicate field `format`");
    refused(&with("\"name\":\"a\"", "\"name\":\"a\",\"name\":\"a\""), "Format", "duplicate field `name`");
    refused(&with("{\"k\":0.5}", "{\"k\":0.5,\"k\":0.5}"), "Format", "duplicate key `k`");
    refused(&with("\"y\":[-1,1]}", "\"y\":[-1,1],\"\\u0079\":[-1,1]}"), "Format", "duplicate key `y`");
    refused(&with(REST, &format!("{REST}{REST}")), "Format", "duplicate field `parameters`");
    refused(&QUADRATIC.replace("\"dims\":[2,1],", "\"dims\":[2,1],\"dims\":[2,1],"), "Format", "duplicate field `dims`");

    // Objects are objects, and nothing is no value.
    refused(&with(FIRST, "[\"a\",[\"x\"],\"x^2\",null]"), "Format", "expected an object");
    refused("[\"gradus-game/1\",null,{},{}]", "Format", "expected an object");
    refused(&with("{\"k\":0.5}", "[[\"k\",0.5]]"), "Format", "expected an object");
    refused(&with("{\"k\":0.5}", "null"), "Format", "expected an object");
    refused(&with(REST, ",\"region\":null"), "Format", "expected an object");
    refused(&with(REST, &format!("{REST},\"constrained\":null")), "Format", "expected a boolean");
    refused(&with(REST, &format!("{REST},\"constrained\":0")), "Format", "expected a boolean");
    refused(&with(REST, &format!("{REST},\"quadratic\":null")), "Format", "expected an object");
    refused(&with("\"loss\":\"y^2/2\"", "\"loss\":null,\"field\":[\"y\"]"), "Format", "expected a string");
    // Messages are of one line, whatever the keys are.
    refused(&with("\"format\"", "\"\\u001b[31m\\n\""), "Format", "unknown field `\\u{1b}[31m\\n`");
    refused(&with("\"format\"", &format!("\"{}\"", "\\n".repeat(10_000))), "Format", "line 1, column");
    refused(&with("{\"k\"", &format!("{{\"{}\":1,\"k\"", "\\u001b\\n".repeat(10_000))), "Format", "parameter `\\u{1b}\\n");
}

#[test]
fn a_game_has_one_form_and_a_player_one_kind() {
    refused(r#"{"format":"gradus-game/1"}"#, "Format", "neither `players` nor `quadratic`");
    let quadratic = r#","quadratic":{"dims":[1,1],"jacobian":[[1,0],[0,1]],"offset":[0,0]}"#;
    refused(&toy(&format!("{FIRST},{SECOND}"), &format!("{REST}{quadratic}")), "Format", "both `players` and `quadratic`");
    refused(&with(",\"loss\":\"y^2/2\"", ""), "Format", "player `b` has neither `loss` nor `field`");
    refused(&with(",\"loss\":\"y^2/2\"", ",\"loss\":\"y^2/2\",\"field\":[\"y\"]"), "Format", "player `b` has both");
}

#[test]
fn sizes_fit() {
    refused(&toy("", REST), "Dimension", "at least 2 players, and this one 0");
    refused(&toy(FIRST, REST), "Dimension", "at least 2 players, and this one 1");
    refused(&with("[\"y\"]", "[]"), "Dimension", "player 2 has no variable");
    refused(&with("[\"y\"]", "[\"x\"]"), "Dimension", "variable `x` is there twice");
    refused(&with("[\"y\"]", "[\"y\",\"y\"]"), "Dimension", "variable `y` is there twice");
    refused(&with("\"loss\":\"y^2/2\"", "\"field\":[]"), "Dimension", "has 0 formulas, and the player 1 variables");
    refused(&with("\"loss\":\"y^2/2\"", "\"field\":[\"y\",\"y\"]"), "Dimension", "has 2 formulas");
    let many: Vec<String> = (0..MOST_VARIABLES).map(|k| format!("\"y{k}\"")).collect();
    refused(&with("\"y\"", &many.join(",")), "Dimension", "257 variables");

    let quadratic = |dims: &str, jacobian: &str, offset: &str| {
        format!(r#"{{"format":"gradus-game/1","quadratic":{{"dims":{dims},"jacobian":{jacobian},"offset":{offset}}}}}"#)
    };
    refused(&quadratic("[2]", "[[1,0],[0,1]]", "[0,0]"), "Dimension", "at least 2 players");
    refused(&quadratic("[]", "[]", "[]"), "Dimension", "at least 2 players");
    refused(&quadratic("[2,0]", "[[1,0],[0,1]]", "[0,0]"), "Dimension", "player 2 has no variable");
    refused(&quadratic("[1,1]", "[[1,0]]", "[0,0]"), "Dimension", "1 rows");
    refused(&quadratic("[1,1]", "[[1,0],[0]]", "[0,0]"), "Dimension", "row 2 of `jacobian` has 1 entries");
    refused(&quadratic("[1,1]", "[[1,0,0],[0,1,0]]", "[0,0]"), "Dimension", "row 1 of `jacobian` has 3 entries");
    refused(&quadratic("[1,1]", "[[1,0],[0,1]]", "[0]"), "Dimension", "`offset` has 1 entries");
    refused(&quadratic("[1,2]", "[[1,0],[0,1]]", "[0,0]"), "Dimension", "2 rows, and `dims` 3 variables");
    refused(&quadratic("[18446744073709551615,1]", "[[1,0],[0,1]]", "[0,0]"), "Dimension", "too many variables");
    refused(&quadratic("[9223372036854775807,1]", "[[1,0],[0,1]]", "[0,0]"), "Dimension", "variables");
    refused(&quadratic("[-1,3]", "[[1,0],[0,1]]", "[0,0]"), "Format", "expected usize");
    refused(&quadratic("[1.5,1]", "[[1,0],[0,1]]", "[0,0]"), "Format", "expected usize");
    refused(&quadratic("[1,1]", "[[1,0],[0,NaN]]", "[0,0]"), "Format", "line 1");
    refused(&quadratic("[1,1]", "[[1,0],[0,1e400]]", "[0,0]"), "Format", "out of range");
}

#[test]
fn regions_have_a_side_for_each_variable() {
    refused(&with(",\"region\":{\"x\":[-1,1],\"y\":[-1,1]}", ""), "InvalidRegion", "`region` is missing");
    refused(&with(",\"y\":[-1,1]", ""), "InvalidRegion", "region of `y` is missing");
    refused(&with(",\"y\":[-1,1]", ",\"y\":[-1,1],\"k\":[0,1]"), "InvalidRegion", "region of `k`: there is no such variable");
    refused(&with("\"y\":[-1,1]", "\"y\":[1,-1]"), "InvalidRegion", "region of `y`: lo 1 is not below hi -1");
    refused(&with("\"y\":[-1,1]", "\"y\":[1,1]"), "InvalidRegion", "region of `y`: lo 1 is not below hi 1");
    refused(&with("\"y\":[-1,1]", "\"y\":[0,-0.0]"), "InvalidRegion", "region of `y`");
    refused(&with("\"y\":[-1,1]", "\"y\":[]"), "InvalidRegion", "region of `y`: expected two numbers, got 0");
    refused(&with("\"y\":[-1,1]", "\"y\":[0,1,2]"), "InvalidRegion", "got 3");
    refused(&with("\"y\":[-1,1]", "\"y\":[null,1]"), "Format", "expected f64");
    refused(&QUADRATIC.replace("\"x3\"", "\"x4\""), "InvalidRegion", "region of `x4`");
    refused(&QUADRATIC.replace("\"x3\":[-1,1]", "\"x2\":[-1,1]"), "Format", "duplicate key `x2`");
    refused(&QUADRATIC.replace(",\"x3\":[-1,1]", ""), "InvalidRegion", "region of `x3` is missing");
}

#[test]
fn names_mean_one_thing() {
    for name in ["", "1x", "x y", "é", "x.1", "-x", "x\\n"] {
        refused(&with("[\"y\"]", &format!("[\"{name}\"]")), "Format", "a name consists of");
        refused(&with("{\"k\"", &format!("{{\"{name}\"")), "Format", "a name consists of");
    }
    for name in ["sin", "log", "softplus", "pi", "e", "abs", "max"] {
        let error = refused(&with("[\"y\"]", &format!("[\"{name}\"]")), "Formula", "function or constant");
        assert!(matches!(error, GameFileError::Name { player: Some(1), .. }));
        let error = refused(&with("{\"k\"", &format!("{{\"{name}\"")), "Formula", "function or constant");
        assert!(matches!(error, GameFileError::Name { player: None, .. }));
    }
    let error = refused(&with("{\"k\"", "{\"y\""), "Formula", "`y` is both a variable and a parameter");
    assert!(matches!(error, GameFileError::Name { player: Some(1), .. }));
    assert!(parse(&with("\"k\":0.5", "\"k\":0.5,\"_K9\":-1e-300,\"unused\":0")).is_ok());
}

#[test]
fn formulas_are_refused_with_player_and_column() {
    let error = refused(&with("y^2/2", "y^2 + z"), "Formula", "loss of player `b`, column 7: unknown name `z`");
    assert!(matches!(error, GameFileError::Formula { player: 1, column: 7, .. }));
    refused(&with("k*x*y", "k*x*abs(y)"), "Formula", "column 13: `abs` is not C^2");
    let text = with("\"loss\":\"y^2/2\"", "\"field\":[\"y + 1/0\"]");
    refused(&text, "Formula", "field of player `b` for `y`, column 5: `1/0` is undefined");
    refused(&with("y^2/2", ""), "Formula", "column 1");
    refused(&with("y^2/2", &"(".repeat(10_000)), "Formula", "column 257");
    refused(&with("y^2/2", &"y+".repeat(40_000)), "Formula", "80000 bytes");
    refused(&with("y^2/2", "y\\u0000"), "Formula", "found `\\u{0}`");
    refused(&with("y^2/2", "x^y"), "Formula", "write exp(");
}

#[test]
fn what_is_no_game_keeps_its_kind() {
    assert_eq!(GameFileError::from(GameError::TooLarge { most: 9 }).code(), "Formula");
    assert_eq!(GameFileError::from(GameError::Dimension { what: "losses", expected: 2, got: 1 }).code(), "Dimension");
    let error = GameFileError::from(GameError::NonFinite { what: "entry 1 of the offset".into() });
    assert_eq!((error.code(), error.to_string().as_str()), ("NonFinite", "entry 1 of the offset is not finite"));
}

#[test]
fn long_files_are_refused_without_being_read() {
    struct Endless(usize);
    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            into.fill(b' ');
            self.0 += into.len();
            if self.0 > MOST_BYTES + (1 << 20) { Err(std::io::Error::other("read on")) } else { Ok(into.len()) }
        }
    }
    let error = GameFile::read(Endless(0)).unwrap_err();
    assert!(error.code() == "Format" && error.to_string().contains("more than 16777216 bytes"), "{error}");
    assert_eq!(GameFile::parse(&vec![b' '; 100_000_000]).unwrap_err().code(), "Format");

    let full = good() + &" ".repeat(MOST_BYTES - good().len());
    assert!(GameFile::read(full.as_bytes()).is_ok());
    refused(&(full + " "), "Format", "more than 16777216 bytes");

    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("torn"))
        }
    }
    let error = GameFile::read(Broken).unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), ("Io", "cannot be read: torn"));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = GameFile::parse(&bytes);
        }

        #[test]
        fn no_change_is_too_much(
            at in any::<prop::sample::Index>(),
            byte in prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:0e-".to_vec())],
            insert in any::<bool>(),
            form in 0usize..3,
        ) {
            let mut bytes = [good(), QUADRATIC.into(), MARKOV.into()][form].clone().into_bytes();
            let at = at.index(bytes.len());
            if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
            if let Err(error) = GameFile::parse(&bytes) {
                prop_assert!(!error.to_string().contains(char::is_control));
            }
        }

        #[test]
        fn numbers_are_the_nearest_ones(k in any::<f64>().prop_filter("a number", |k| k.is_finite()), lo in -1e300..1e300f64) {
            let text = with("0.5", &format!("{k:e}")).replacen("[-1,1]", &format!("[{lo},{}]", lo.next_up()), 1);
            let file = parse(&text).unwrap();
            prop_assert_eq!(file.region.unwrap()[0], side(lo, lo.next_up()));
            prop_assert_eq!(file.game.jacobian(&[0.0, 0.0])[(0, 1)], k);
        }
    }
}
