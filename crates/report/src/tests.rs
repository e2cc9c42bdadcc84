use std::fs;

use super::*;

const NASTY: &str = "<script>alert('x')</script> & \"y\"";

fn machine(cpu: &str) -> Machine {
    Machine { os: "linux".into(), arch: "x86_64".into(), cpu: cpu.into(), cores: 2, threads: 2, gradus: "0.1.0".into() }
}

fn claim(id: &str, verdict: Verdict) -> Claim {
    Claim {
        id: id.into(),
        text: NASTY.into(),
        metric: NASTY.into(),
        direction: Direction::Within,
        threshold: Threshold::Range([0.97, 1.03]),
        measured: Some(1.01),
        interval: Some([0.9, 1.1]),
        seeds: 2,
        paper: Some(Paper { value: 1.0, source: NASTY.into() }),
        gate: true,
        profiles: Profile::ALL.into(),
        verdict,
    }
}

fn report(slug: &str) -> SystemReport {
    let chart = LineChart { title: NASTY.into(), alt: NASTY.into(), x_label: NASTY.into(), ..Default::default() };
    let figure = LineChart { series: vec![Series::new(NASTY, [(1.0, 2.0), (2.0, 3.0)])], ..chart }.figure("curve");
    SystemReport {
        schema: SYSTEM_SCHEMA.into(),
        system: System {
            slug: slug.into(),
            title: NASTY.into(),
            profile: Profile::Quick,
            seed: 0,
            seeds: Some(2),
            seconds: 1.5,
            finished: "2026-01-31T09:30:00Z".into(),
            options: [("name".into(), "it's <b>".into())].into(),
            data: Some(NASTY.into()),
            claims: vec![claim("one", Verdict::Holds), claim("two", Verdict::DoesNotHold), claim("three", Verdict::NeedsMore)],
            figures: vec![FigureFile { file: format!("{slug}/curve.svg"), title: NASTY.into(), alt: NASTY.into() }],
            machine: None,
        },
        authors: NASTY.into(),
        year: 2020,
        arxiv: Some(NASTY.into()),
        summary: NASTY.into(),
        values: [("one".into(), vec![1.0, 1.02])].into(),
        figures: vec![figure],
        tables: vec![Table { rows: vec![vec![NASTY.into(), 0.5.into()]], ..Table::new(NASTY, [NASTY, "share"]) }],
        notes: vec![NASTY.into()],
        numbers: serde_json::json!({ "key": NASTY }),
    }
}

#[test]
fn all_text_is_escaped() {
    let report = report("fake");
    let page = system_page(&report, Some(&report.system), Some("index.html"));
    let mut results = Results::new(machine(NASTY));
    results.replace(report.system, machine(NASTY));
    for page in [page, index_page(&results)] {
        assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;script&gt;"));
    }
}

#[test]
fn a_page_needs_no_network_and_no_script() {
    let report = report("fake");
    let page = system_page(&report, None, None);
    for forbidden in ["<script", "<link", "src=", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(!page.contains("href=\"index.html\"") && !page.contains("fake/curve.svg") && !page.contains("fake.json"));
    assert!(system_page(&report, None, Some("index.html")).contains("fake/curve.svg"));
}

#[test]
fn verdicts_are_words_and_the_command_is_quoted() {
    let page = system_page(&report("fake"), None, None);
    for words in ["holds", "does not hold", "needs more", "within 0.97 … 1.03", "1.01", "[0.9, 1.1]", "2 seeds"] {
        assert!(page.contains(words), "{words}");
    }
    assert!(page.contains("--seeds 2") && page.contains(r"--option 'name=it'\''s &lt;b&gt;'"), "{page}");
}

#[test]
fn long_lists_of_numbers_stay_out_of_the_page() {
    let mut report = report("fake");
    let many: Vec<f64> = (0..100_000).map(f64::from).collect();
    report.numbers =
        serde_json::json!({ "reference": { "eta": 0.25, "losses": [0.5, null] }, "raw": many, "runs": [{ "loss": 1 }], "converged": true });
    let page = system_page(&report, None, None);
    for row in [
        "reference.eta</td><td class=\"\">0.25<",
        "reference.losses</td><td class=\"\">0.5, –<",
        "raw</td><td class=\"\">in the JSON report (100000)<",
        "runs</td><td class=\"\">in the JSON report (1)<",
        "converged</td><td class=\"\">true<",
    ] {
        assert!(page.contains(row), "{row}\n{page}");
    }
    assert!(page.len() < 50_000, "{}", page.len());
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &report, &machine("A"), None).unwrap();
    let own: SystemReport = serde_json::from_slice(&fs::read(folder.path().join("fake.json")).unwrap()).unwrap();
    assert_eq!(own.numbers, report.numbers);
}

#[test]
fn a_region_that_scrolls_has_the_title_of_its_figure() {
    let mut report = report("fake");
    report.figures[0].table.title = "Loss by step".into();
    let page = system_page(&report, None, None);
    assert!(page.contains("role=\"region\" aria-label=\"Loss by step\"") && !page.contains("<caption>Loss by step"), "{page}");
    assert!(!page.contains("aria-label=\"Numbers\""));
}

#[test]
fn an_earlier_run_is_shown_beside_each_claim() {
    let report = report("fake");
    let mut earlier = report.system.clone();
    earlier.claims.truncate(2);
    earlier.claims[1].verdict = Verdict::Holds;
    earlier.claims[1].measured = Some(0.123);
    earlier.profile = Profile::Full;
    let page = system_page(&report, Some(&earlier), None);
    for words in ["Earlier run", "0.123", "was: ", "no such claim", "different settings"] {
        assert!(page.contains(words), "{words}");
    }
    assert!(!system_page(&report, Some(&report.system), None).contains("different settings"));
}

#[test]
fn saving_keeps_other_systems_and_replaces_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/out");
    save(&out, &report("one"), &machine("A"), None).unwrap();
    save(&out, &report("two"), &machine("B"), None).unwrap();
    let mut again = report("one");
    again.system.seed = 9;
    assert_eq!(save(&out, &again, &machine("B"), None).unwrap(), [out.join("index.html"), out.join("one.html")]);
    let results = read_results(&out.join("results.json")).unwrap();
    let entries: Vec<_> = results.systems.iter().map(|system| (system.slug.as_str(), system.seed)).collect();
    assert_eq!(entries, [("one", 9), ("two", 0)]);
    assert_eq!(results.machine, machine("B"));
    assert!(results.systems.iter().all(|system| system.machine.is_none()), "both ran on B");
    let index = fs::read_to_string(out.join("index.html")).unwrap();
    assert!(index.contains("one.html") && index.contains("two.html"));
    let own: SystemReport = serde_json::from_slice(&fs::read(out.join("one.json")).unwrap()).unwrap();
    assert_eq!((own.system.machine, own.figures), (Some(machine("B")), again.figures));
}

#[test]
fn only_own_figures_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    fs::write(out.join("mine.svg"), "").unwrap();
    let mut first = report("one");
    let listed = |name: &str| FigureFile { file: name.into(), title: String::new(), alt: String::new() };
    first.figures.push(Figure { name: "gone".into(), ..first.figures[0].clone() });
    first.system.figures.push(listed("one/gone.svg"));
    first.system.figures.push(listed("one/../../mine.svg"));
    first.system.figures.push(listed("mine.svg"));
    save(out, &first, &machine("A"), None).unwrap();
    fs::write(out.join("one/mine.svg"), "").unwrap();
    assert!(out.join("one/gone.svg").is_file());
    save(out, &report("one"), &machine("A"), None).unwrap();
    assert!(out.join("one/curve.svg").is_file() && !out.join("one/gone.svg").exists());
    assert!(out.join("one/mine.svg").is_file() && out.join("mine.svg").is_file());
}

#[test]
fn the_users_own_pages_are_not_overwritten() {
    for name in ["index.html", "one.html"] {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join(name);
        fs::write(&page, "<!doctype html><title>Mine</title>").unwrap();
        assert!(matches!(check_folder(folder.path(), ["one"]), Err(ReportError::Foreign { path }) if path == page));
        assert!(matches!(save(folder.path(), &report("one"), &machine("A"), None), Err(ReportError::Foreign { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != ".lock").count(), 1);
        fs::remove_file(&page).unwrap();
        save(folder.path(), &report("one"), &machine("A"), None).unwrap();
        check_folder(folder.path(), ["one", "two"]).unwrap();
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_said_before() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(check_folder(&file, ["one"]), Err(ReportError::Io { .. })));
    fs::write(folder.path().join("one"), "a file in the place of the figures").unwrap();
    assert!(matches!(check_folder(folder.path(), ["one"]), Err(ReportError::Io { .. })));
    check_folder(folder.path(), ["two"]).unwrap();
}

#[test]
fn runs_into_one_folder_lose_no_entry() {
    let folder = tempfile::tempdir().unwrap();
    let slugs = ["a", "b", "c", "d", "e", "f", "g", "h"];
    std::thread::scope(|scope| {
        for slug in slugs {
            scope.spawn(|| save(folder.path(), &report(slug), &machine("A"), None).unwrap());
        }
    });
    let results = read_results(&folder.path().join("results.json")).unwrap();
    assert_eq!(results.systems.iter().map(|system| system.slug.as_str()).collect::<Vec<_>>(), slugs);
}

#[test]
fn an_entry_of_another_machine_says_so() {
    let mut results = Results::new(machine("A"));
    results.replace(report("one").system, machine("A"));
    results.replace(report("two").system, machine("B"));
    assert_eq!(results.system("one").unwrap().machine, Some(machine("A")));
    assert_eq!(results.system("two").unwrap().machine, None);
    results.replace(report("two").system, machine("A"));
    assert_eq!(results.system("one").unwrap().machine, None);
}

#[test]
fn the_results_file_has_the_documented_keys() {
    let mut results = Results::new(machine("A"));
    results.replace(report("one").system, machine("A"));
    let json = serde_json::to_value(&results).unwrap();
    assert_eq!(json["schema"], "gradus-results/1");
    let claim = &json["systems"][0]["claims"][1];
    assert_eq!(claim["direction"], "within");
    assert_eq!(claim["threshold"], serde_json::json!([0.97, 1.03]));
    assert_eq!(claim["interval"], serde_json::json!([0.9, 1.1]));
    assert_eq!(claim["verdict"], "does-not-hold");
    assert_eq!(json["systems"][0]["profile"], "quick");
    assert_eq!(serde_json::from_value::<Results>(json).unwrap(), results);
}

#[test]
fn the_example_of_the_schema_page_is_of_the_schema() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/guide/results-schema.md")).unwrap();
    let example = page.split("```json").nth(1).unwrap().split("```").next().unwrap();
    let results: Results = serde_json::from_str(example).unwrap();
    let value: serde_json::Value = serde_json::from_str(example).unwrap();
    assert_eq!(serde_json::to_value(&results).unwrap(), value, "no key is missing or unknown");
}

#[test]
fn bad_results_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.json");
    assert!(matches!(read_results(&path), Err(ReportError::Io { .. })));
    let mut results = Results::new(machine("A"));
    results.replace(report("../up").system, machine("A"));
    let slug = serde_json::to_string(&results).unwrap();
    let check = |content: &str, message: &str| {
        fs::write(&path, content).unwrap();
        let error = read_results(&path).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        error
    };
    assert!(matches!(check("{", "line 1 column 1"), ReportError::Json { .. }));
    assert!(matches!(check("{\"schema\":\"gradus-results/1\"}", "machine"), ReportError::Json { .. }));
    assert!(matches!(check("{\"schema\":\"gradus-results/9\"}", "expected \"gradus-results/1\""), ReportError::Schema { .. }));
    assert!(matches!(check(&slug, "\"../up\""), ReportError::Slug { .. }));
    // What cannot be read is not overwritten.
    fs::write(&path, "{").unwrap();
    assert!(save(folder.path(), &report("one"), &machine("A"), None).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "{");
}

#[test]
fn durations() {
    for (seconds, words) in [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (185.0, "3 min 5 s"), (7200.0, "2 h 0 min")] {
        assert_eq!(duration(seconds), words);
    }
    assert_eq!(duration(-1.0), "0.0 s");
}
