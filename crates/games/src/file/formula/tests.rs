use super::*;
use crate::expression::Program;

const NAMES: [&str; 3] = ["x", "y", "long_name2"];
const PARAMETERS: [(&str, f64); 3] = [("k", 2.0), ("half", 0.5), ("below", -3.0)];

fn read(text: &str) -> Result<Program, FormulaError> {
    let graph = RefCell::new(Graph::default());
    let x = Graph::variables(&graph, NAMES.len());
    let symbol = parse(text, &Names::new(NAMES.into_iter(), PARAMETERS.into_iter()), &x)?;
    Ok(graph.borrow_mut().program(&[symbol]))
}

fn value(text: &str, x: &[f64; 3]) -> f64 {
    read(text).unwrap_or_else(|error| panic!("{text}: {error}")).values(x)[0]
}

#[track_caller]
fn refused(text: &str, column: usize, message: &str) {
    let error = read(text).expect_err(text);
    assert!(error.column == column && error.message.contains(message), "{}: {error}", shown(text));
}

#[test]
fn operators_bind_as_they_do_on_paper() {
    let x = [3.0, -2.0, 0.5];
    for (text, expected) in [
        ("1 - 2 - 3", -4.0),
        ("1 - (2 - 3)", 2.0),
        ("12 / 3 / 2", 2.0),
        ("12 / 3 * 2", 8.0),
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("-x^2", -9.0),
        ("(-x)^2", 9.0),
        ("2^-1", 0.5),
        ("2^-2^2", 0.0625),
        ("2^3^2", 512.0),
        ("(2^3)^2", 64.0),
        ("-2^-2", -0.25),
        ("2 * -x", -6.0),
        ("2 - -x", 5.0),
        ("- - -x", -3.0),
        ("x/-y", 1.5),
        ("x^2*y", -18.0),
        ("6/x^2", 6.0 / 9.0),
        ("x^k^k", 81.0),
        ("x^-k", 1.0 / 9.0),
        ("x^(1+1)", 9.0),
        ("y^k", 4.0),
        ("y^(6/2)", -8.0),
        ("y^sqrt(9)", -8.0),
        ("y^0", 1.0),
        ("0^0", 1.0),
        ("y^64", 2f64.powi(64)),
        ("y^-64", 2f64.powi(-64)),
        (" \t\r\n x \n", 3.0),
        ("long_name2+1.", 1.5),
        (".5e1 + 1E-1 + 1e+0", 6.1),
        ("1e-999", 0.0),
        ("ln(e)", 1.0),
        ("log(e^2)", 2.0),
        ("cos(pi)", -1.0),
        ("below", -3.0),
        ("0.1 + 0.2", 0.1 + 0.2),
        ("9007199254740993", 9007199254740992.0),
    ] {
        assert!((value(text, &x) - expected).abs() <= 1e-14 * expected.abs(), "{text}: {} {expected}", value(text, &x));
    }
}

/// A formula of two numbers as text and in Rust.
type Same = (&'static str, fn(f64, f64) -> f64);

#[test]
fn formulas_are_what_they_are_in_rust() {
    let formulas: [Same; 14] = [
        ("x^2 + 0.5*x*y + y^2 + sin(y)*x", |x, y| x * x + 0.5 * x * y + y * y + libm::sin(y) * x),
        ("exp(-x^2/2)/sqrt(2*pi)", |x, _| libm::exp(-(x * x) / 2.0) / (2.0 * std::f64::consts::PI).sqrt()),
        ("x^(1/3)", |x, _| libm::cbrt(x)),
        ("x^half", |x, _| x.sqrt()),
        ("x^-2.5 - x^65/1e3", |x, _| libm::pow(x, -2.5) - libm::pow(x, 65.0) / 1e3),
        ("softplus(x - y) - sigmoid(3*y)", |x, y| libm::log(1.0 + libm::exp(x - y)) - 1.0 / (1.0 + libm::exp(-3.0 * y))),
        ("tanh(x)*cosh(y) - sinh(x)*cos(y)", |x, y| libm::tanh(x) * libm::cosh(y) - libm::sinh(x) * libm::cos(y)),
        ("atan(x/y) - -y/-x", |x, y| libm::atan(x / y) - y / x),
        ("log(x)/ln(2)", |x, _| libm::log2(x)),
        ("exp(x*ln(2))", |x, _| libm::exp2(x)),
        ("x - y + x - y", |x, y| 2.0 * x - 2.0 * y),
        ("1/(1 + x^2)^2", |x, _| (1.0 + x * x).powi(-2)),
        ("below*x^3*y^-3", |x, y| -3.0 * (x / y).powi(3)),
        ("(x + y)*(x - y)", |x, y| x * x - y * y),
    ];
    for (text, expected) in formulas {
        for (x, y) in [(0.3, 0.7), (1.0, -0.4), (1.1, 2.0)] {
            let (found, expected) = (value(text, &[x, y, 0.0]), expected(x, y));
            assert!((found - expected).abs() < 1e-12 * (1.0 + expected.abs()), "{text} at {x}, {y}: {found} {expected}");
        }
    }
}

#[test]
fn constants_are_enclosed() {
    // What no f64 is.
    for (text, digits) in [("pi", std::f64::consts::PI), ("1/3", 1.0 / 3.0), ("2^0.5", std::f64::consts::SQRT_2), ("e^2", 7.38905609893065)]
    {
        let around = read(text).unwrap().constant(0).unwrap();
        assert!(around.lo() < around.hi() && around.contains(digits) && around.hi() - around.lo() < 1e-14, "{text}: {around:?}");
    }
    // The cube root of 8 is 2, and its exponent no f64.
    let around = read("x^(1/3)").unwrap().values(&[Interval::point(8.0); 3])[0];
    assert!(around.lo() < 2.0 && around.hi() > 2.0 && around.hi() - around.lo() < 1e-14, "{around:?}");
    assert_eq!(read("3^2 - 1/4").unwrap().constant(0), Some(Interval::point(8.75)));
}

#[test]
fn what_is_no_formula_is_refused_where_it_goes_wrong() {
    for (text, column, message) in [
        ("", 1, "found the end"),
        ("   ", 4, "found the end"),
        ("x +", 4, "found the end"),
        ("x + * y", 5, "found `*`"),
        ("x ** y", 4, "found `*`"),
        ("+x", 1, "found `+`"),
        ("x y", 3, "no implicit product"),
        ("2x", 2, "no implicit product"),
        ("2 (x)", 3, "no implicit product"),
        ("x (y)", 1, "no implicit product"),
        ("pi(2)", 1, "no implicit product"),
        ("(x)(y)", 4, "no implicit product"),
        ("2e", 2, "no implicit product"),
        ("2e+", 2, "no implicit product"),
        ("0x10", 2, "no implicit product"),
        ("1_000", 2, "no implicit product"),
        ("1.2.3", 4, "found `.`"),
        (".", 1, "without digits"),
        ("(x", 3, "the `)` of the `(` at column 1"),
        ("sin(x, y)", 6, "found `,`"),
        ("()", 2, "found `)`"),
        ("x)", 2, "without its `(`"),
        ("x^", 3, "found the end"),
        ("x = y", 3, "found `=`"),
        ("x → y", 3, "found `→`"),
        ("é", 1, "found `é`"),
        ("x + \u{7}", 5, "found `\\u{7}`"),
        ("x + 'ßß' + z", 5, "found `'`"),
        ("sin", 1, "write sin(..)"),
        ("sin x", 1, "write sin(..)"),
        ("1e999", 1, "out of range"),
        ("x - 1e309", 5, "out of range"),
        ("z", 1, "unknown name `z`; the nearest known one is `x`"),
        ("x + longname2", 5, "`long_name2`"),
        ("Pi", 1, "`pi`"),
        ("tan(x)", 1, "unknown function `tan`; the nearest known one is"),
        ("sinus(x)", 1, "`sin`"),
        ("NaN", 1, "unknown name"),
        ("nan", 1, "unknown name"),
        ("x*inf", 3, "unknown name"),
        ("infinity", 1, "unknown name"),
        ("-Infinity", 2, "unknown name"),
        ("x^y", 3, "write exp("),
        ("2^(1 + x)", 3, "write exp("),
        ("2^(x - x)", 3, "write exp("),
        ("1 + 1/0", 5, "`1/0` is undefined"),
        ("x*ln(-1)", 3, "`ln(-1)` is undefined"),
        ("sqrt( -1 )", 1, "undefined"),
        ("ln(0)", 1, "undefined"),
        ("0^-1", 1, "undefined"),
        ("x + 10^60^9", 5, "out of range"),
        ("x + exp(1000)", 5, "out of range"),
        ("1e308*10 - x", 1, "out of range"),
        ("below^half", 1, "positive base"),
        ("0^0.5", 1, "positive base"),
        ("(x - x)^1.5", 1, "positive base"),
        ("(-8)^(1/3)", 1, "positive base"),
    ] {
        refused(text, column, message);
    }
    for name in NOT_SMOOTH {
        refused(&format!("x + {name}(x, y)"), 5, "not C^2");
        refused(name, 1, "not C^2");
    }
}

#[test]
fn parameters_that_are_no_numbers_are_refused() {
    assert!(check("x + 1", &["x"], &[("k", f64::NAN)]).is_ok());
    assert_eq!(check("x + k", &["x"], &[("k", f64::NAN)]).unwrap_err().column, 5);
    assert_eq!(check("k*x", &["x"], &[("k", f64::INFINITY)]).unwrap_err().column, 1);
}

#[test]
fn deep_formulas_are_refused_and_long_ones_read() {
    let nested = |count: usize| format!("{}x{}", "(".repeat(count), ")".repeat(count));
    assert_eq!(value(&nested(MOST_LEVELS), &[3.0, 0.0, 0.0]), 3.0);
    refused(&nested(MOST_LEVELS + 1), MOST_LEVELS + 1, "256 levels");
    refused(&nested(10_000), MOST_LEVELS + 1, "256 levels");
    assert_eq!(value(&format!("{}x", "-".repeat(MOST_LEVELS)), &[3.0, 0.0, 0.0]), 3.0);
    refused(&format!("{}x", "-".repeat(10_000)), MOST_LEVELS + 1, "256 levels");
    refused(&"1^".repeat(10_000), 2 * MOST_LEVELS + 3, "256 levels");
    refused(&"1^-".repeat(10_000), 3 * MOST_LEVELS / 2 + 3, "256 levels");
    refused(&"sin(".repeat(10_000), 4 * MOST_LEVELS + 4, "256 levels");
    // Only what is open counts.
    assert_eq!(value(&["-(x)^1"; 1000].join("+"), &[1.0, 0.0, 0.0]), -1000.0);
    assert_eq!(value(&["x"; 10_000].join("+"), &[0.5, 0.0, 0.0]), 5_000.0);
    assert_eq!(value(&["x"; 10_000].join("*"), &[1.0, 0.0, 0.0]), 1.0);

    let full = format!("x{}", "+x".repeat(MOST_BYTES / 2 - 1)) + " ";
    assert_eq!((full.len(), value(&full, &[1.0, 0.0, 0.0])), (MOST_BYTES, (MOST_BYTES / 2) as f64));
    refused(&(full + " "), 1, "at most 65536");
    let digits = "1".repeat(MOST_BYTES);
    refused(&digits, 1, "out of range");
    assert!((value(&format!("0.{}", &digits[2..]), &[0.0; 3]) - 1.0 / 9.0).abs() < 1e-16);
    let name = "a".repeat(MOST_BYTES);
    assert!(read(&name).unwrap_err().to_string().len() < 300);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// A formula that is written as text, and computed without.
    #[derive(Clone, Debug)]
    enum Tree {
        Name(usize),
        Number(f64),
        Constant(bool),
        Two(char, Box<Tree>, Box<Tree>),
        Negative(Box<Tree>),
        Power(Box<Tree>, Exponent),
        Of(usize, Box<Tree>),
    }

    #[derive(Clone, Copy, Debug)]
    enum Exponent {
        Whole(i32),
        Any(f64),
    }

    impl Tree {
        fn value<R: Real>(&self, x: &[R], seen: &mut impl FnMut(R)) -> R {
            let found = match self {
                Self::Name(index) if *index < NAMES.len() => x[*index],
                Self::Name(index) => R::constant(PARAMETERS[index - NAMES.len()].1),
                Self::Number(value) => R::constant(*value),
                Self::Constant(pi) => {
                    if *pi {
                        R::pi()
                    } else {
                        R::e()
                    }
                }
                Self::Two(operator, a, b) => {
                    let (a, b) = (a.value(x, seen), b.value(x, seen));
                    match operator {
                        '+' => a + b,
                        '-' => a - b,
                        '*' => a * b,
                        _ => a / b,
                    }
                }
                Self::Negative(a) => -a.value(x, seen),
                Self::Power(a, Exponent::Whole(exponent)) => a.value(x, seen).powi(*exponent),
                Self::Power(a, Exponent::Any(exponent)) => {
                    let a = a.value(x, seen);
                    seen(a.ln());
                    a.powf(*exponent)
                }
                Self::Of(function, a) => FUNCTIONS[*function].1.of(a.value(x, seen)),
            };
            seen(found);
            found
        }

        /// How tightly it binds: a sum 0, a product 1, a minus 2, a power 3, anything else 4.
        fn rank(&self) -> usize {
            match self {
                Self::Two('+' | '-', ..) => 0,
                Self::Two(..) => 1,
                Self::Negative(_) => 2,
                Self::Power(..) => 3,
                _ => 4,
            }
        }

        /// With as few parentheses as there may be.
        fn text(&self) -> String {
            let inner = |tree: &Self, rank: usize| if tree.rank() < rank { format!("({})", tree.text()) } else { tree.text() };
            match self {
                Self::Name(index) => NAMES.into_iter().chain(PARAMETERS.map(|(name, _)| name)).nth(*index).unwrap().into(),
                Self::Number(value) => format!("{value:?}"),
                Self::Constant(pi) => CONSTANTS[usize::from(!pi)].into(),
                Self::Two(operator, a, b) => format!("{}{operator} {}", inner(a, self.rank()), inner(b, self.rank() + 1)),
                Self::Negative(a) => format!("-{}", inner(a, 2)),
                Self::Power(a, Exponent::Whole(exponent)) => format!("{} ^{exponent}", inner(a, 4)),
                Self::Power(a, Exponent::Any(exponent)) => format!("{}^ {exponent:?}", inner(a, 4)),
                Self::Of(function, a) => format!("{} ( {})", FUNCTIONS[*function].0, a.text()),
            }
        }
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![
            6 => (0..NAMES.len() + PARAMETERS.len()).prop_map(Tree::Name),
            3 => prop_oneof![0.0..10.0, Just(0.0), Just(1.0), Just(2.0), Just(1e-7), Just(1e18)].prop_map(Tree::Number),
            1 => any::<bool>().prop_map(Tree::Constant),
        ];
        leaf.prop_recursive(6, 60, 2, |inner| {
            let boxed = inner.clone().prop_map(Box::new);
            let operator = prop::sample::select(vec!['+', '-', '*', '/']);
            let exponent = prop_oneof![(-4..=6).prop_map(Exponent::Whole), (0.1..3.0).prop_map(Exponent::Any)];
            prop_oneof![
                5 => (operator, boxed.clone(), boxed.clone()).prop_map(|(operator, a, b)| Tree::Two(operator, a, b)),
                1 => boxed.clone().prop_map(Tree::Negative),
                2 => (boxed.clone(), exponent).prop_map(|(a, exponent)| Tree::Power(a, exponent)),
                2 => (0..FUNCTIONS.len(), boxed).prop_map(|(function, a)| Tree::Of(function, a)),
            ]
        })
    }

    /// Parts of formulas, in any order.
    fn scraps() -> impl Strategy<Value = String> {
        let scrap =
            prop::sample::select(vec!["x", "k", "sin", "(", ")", "(", ")", "+", "-", "*", "/", "^", "1", "2.5", "e", "1e3", " ", "é", "."]);
        prop::collection::vec(scrap, 0..40).prop_map(|scraps| scraps.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_written_is_read_again(tree in tree(), x in prop::array::uniform3(-2.0..2.0f64)) {
            let mut finite = true;
            let expected = tree.value(&x, &mut |part: f64| finite &= part.is_finite());
            match read(&tree.text()) {
                Ok(program) => {
                    // Where a part is not finite, others may cancel it: nothing divided by it is nothing.
                    let found = program.values(&x)[0];
                    prop_assert!(!finite || found == expected, "{}: {found} {expected}", tree.text());
                    let around = program.values(&x.map(Interval::point))[0];
                    prop_assert!(!finite || around.contains(expected), "{}: {around:?} {expected}", tree.text());
                }
                // Only for constants that are none, or cannot be shown to be.
                Err(error) => {
                    let mut bounded = true;
                    let _ = tree.value(&x.map(Interval::point), &mut |part: Interval| bounded &= part.is_bounded());
                    prop_assert!(!finite || !bounded, "{}: {error}", tree.text());
                }
            }
        }

        #[test]
        fn no_text_is_too_much(text in any::<String>()) {
            if let Err(error) = read(&text) {
                prop_assert!(error.column <= text.chars().count() + 1);
            }
        }

        #[test]
        fn no_scraps_are_too_much(text in scraps()) {
            if let Err(error) = read(&text) {
                prop_assert!(error.column <= text.chars().count() + 1);
            }
        }
    }
}
