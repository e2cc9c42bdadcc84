use super::draw::{PALETTE, fit, wrap};
use super::*;
use crate::Cell;

/// Relative luminance and contrast as WCAG 2 defines them.
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |colour: &str| {
        let channel = |i: usize| {
            let value = f64::from(u8::from_str_radix(&colour[i..i + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    };
    let (a, b) = (luminance(one), luminance(other));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn colours_stand_out_in_both_themes() {
    let [surface, ink, quiet, _, heat, cold, series @ ..] = PALETTE;
    for (name, light, dark) in [heat, cold].into_iter().chain(series) {
        assert!(contrast(light, surface.1) >= 3.0, "{name} {}", contrast(light, surface.1));
        assert!(contrast(dark, surface.2) >= 3.0, "{name} {}", contrast(dark, surface.2));
    }
    for (_, light, dark) in [ink, quiet] {
        assert!(contrast(light, surface.1) >= 4.5 && contrast(dark, surface.2) >= 4.5);
    }
    for (_, light, dark) in [heat, cold] {
        assert!(contrast(ink.1, light) >= 4.5 && contrast(ink.2, dark) >= 4.5, "{light} {dark}");
    }
}

fn line() -> LineChart {
    LineChart {
        title: "A <title> & \"more\"".into(),
        alt: "words </desc>".into(),
        x_label: "x < 1".into(),
        y_label: "y".into(),
        series: vec![Series::with_intervals("<b>", [(1.0, 2.0, Some([1.5, 2.5])), (2.0, f64::NAN, None), (3.0, 1.0, None)])],
        references: vec![Reference::new("zero & one", 0.0)],
        ..Default::default()
    }
}

#[test]
fn shades_are_behind_the_curves_and_in_the_table() {
    let shades = Shades {
        label: "gain & loss".into(),
        x: vec![0.0, 1.0, 2.0, 4.0],
        y: vec![-1.0, 0.0, 1.0],
        values: vec![vec![0.5, 0.5, -0.5], vec![f64::NAN, 0.25, 0.5]],
    };
    let chart = LineChart { shades: Some(shades), ..line() };
    let (figure, plain) = (chart.figure("a"), line().figure("a"));
    well_formed(&figure.svg);
    let (_, group) = figure.svg.split_once("class=\"shades\"").unwrap();
    let (group, after) = group.split_once("</g>").unwrap();
    // The first two cells are alike, and one is empty.
    assert_eq!(group.matches("<rect").count(), 4);
    assert_eq!(group.matches("cold").count(), 1);
    assert!(after.contains("class=\"mark\"") && after.contains("gain &amp; loss"));
    assert_eq!(figure.table.rows.len(), plain.table.rows.len() + 5);
    assert!(figure.table.rows.iter().all(|row| row.len() == figure.table.columns.len()));
    assert_eq!(figure.table.rows[3][..3], [Cell::from("shades"), 0.5.into(), (-0.5).into()]);
    assert_eq!(figure.table.rows[3].last(), Some(&Cell::from(0.5)));
}

#[test]
fn names_at_points_leave_the_legend_and_each_other() {
    let named = ["one", "two", "three"].map(|name| Series::new(name, [(if name == "three" { 2.0 } else { 1.0 }, 1.0)]));
    let mut chart = LineChart { series: [&line().series[..], &named[..]].concat(), named_points: true, ..line() };
    let svg = chart.figure("a").svg;
    well_formed(&svg);
    // The other series keeps its sample of a line and the reference its own.
    assert_eq!(svg.matches("<line class=\"line\"").count(), 1);
    let number = |element: &str, key: &str| -> f64 {
        let (_, after) = element.split_once(&format!(" {key}=\"")).unwrap();
        after.split_once('"').unwrap().0.parse().unwrap()
    };
    let place = |name: &str| {
        let element = svg.split("<text").find(|text| text.contains(&format!(">{name}<"))).unwrap();
        [number(element, "x"), number(element, "y")]
    };
    // As wide as three letters are likely to be, and as high as text is.
    let apart = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).abs() > 21.0 || (a[1] - b[1]).abs() > 11.0;
    let [one, two, three] = ["one", "two", "three"].map(place);
    assert!(apart(one, two) && apart(one, three) && apart(two, three), "{one:?} {two:?} {three:?}");
    chart.named_points = false;
    assert_eq!(chart.figure("a").svg.matches("<line class=\"line\"").count(), 4);
}

#[test]
fn text_is_escaped_and_the_svg_is_well_formed() {
    let svg = line().figure("a").svg;
    assert!(svg.contains("A &lt;title&gt; &amp; &quot;more&quot;"), "{svg}");
    assert!(svg.contains("words &lt;/desc&gt;") && svg.contains("&lt;b&gt;") && !svg.contains("<b>"));
    well_formed(&svg);
}

/// Every element that opens closes in order, and attributes are quoted: enough for the markup that we write.
fn well_formed(svg: &str) {
    let mut open = Vec::new();
    for piece in svg.split('<').skip(1) {
        let (tag, rest) = piece.split_once('>').expect("a tag ends");
        assert!(!rest.contains('>') || open.last() == Some(&"style") || tag == "style", "{piece}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None => open.push(tag.split(' ').next().unwrap()),
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_gap_interrupts_the_line_and_leaves_markers() {
    let svg = line().figure("a").svg;
    assert_eq!(svg.matches("<polyline").count(), 0, "no two neighbours have a place");
    assert_eq!(svg.matches("<circle class=\"mark\"").count(), 3, "two points and the legend");
    assert_eq!(svg.matches("class=\"whisker\"").count(), 1);
}

#[test]
fn the_table_holds_every_number() {
    let table = line().figure("a").table;
    assert_eq!(table.columns, ["series", "x < 1", "y", "lowest", "highest"]);
    assert_eq!(table.rows[0], ["<b>".into(), 1.0.into(), 2.0.into(), 1.5.into(), Cell::Number(2.5)]);
    assert_eq!(table.rows[2][3..], [Cell::Missing, Cell::Missing]);
}

#[test]
fn bars_show_values_and_seeds() {
    let chart = BarChart {
        label: "accuracy".into(),
        bars: vec![Bar::of_seeds("one", &[0.25, 0.75]), Bar { interval: Some([0.1, 0.4]), ..Bar::new("two", 0.25) }],
        references: vec![Reference::new("chance", 0.1)],
        ..Default::default()
    };
    let figure = chart.figure("bars");
    assert_eq!(figure.svg.matches("class=\"bar\"").count(), 2);
    assert_eq!(figure.svg.matches("class=\"dot\"").count(), 3, "two seeds and the legend");
    assert_eq!(figure.table.columns, ["bar", "accuracy", "lowest", "highest", "seed 1", "seed 2"]);
    assert_eq!(figure.table.rows[0][1], Cell::Number(0.5));
    well_formed(&figure.svg);
}

#[test]
fn histogram_shares_sum_to_one() {
    let chart =
        Histogram { samples: vec![Sample::new("a", [0.0, 1.0, 2.0, 10.0, f64::NAN]), Sample::new("b", [])], bins: 5, ..Default::default() };
    let table = chart.figure("h").table;
    let shares: Vec<&Cell> = table.rows.iter().map(|row| &row[2]).collect();
    assert_eq!(shares, [0.5, 0.25, 0.0, 0.0, 0.25].map(Cell::Number).iter().collect::<Vec<_>>());
    assert!(table.rows.iter().all(|row| row[3] == Cell::Number(0.0)));
}

#[test]
fn a_heat_map_leaves_missing_cells_empty() {
    let map = HeatMap {
        columns: vec!["a".into(), "b".into()],
        rows: vec!["r".into(), "s".into()],
        values: vec![vec![1.0, f64::NAN], vec![-0.5]],
        ..Default::default()
    };
    let figure = map.figure("m");
    assert_eq!(figure.table.rows[0][2], Cell::Missing);
    assert_eq!(figure.svg.matches("class=\"cold\" fill-opacity=\"0.500\" ").count(), 2, "its cell and the scale");
    assert!(figure.svg.contains(".heat,.gradus-figure .cold{stroke:var(--quiet)"), "faint shades are outlined");
    well_formed(&figure.svg);
}

#[test]
fn nothing_to_draw_is_still_a_figure() {
    for figure in [
        LineChart::default().figure(""),
        BarChart { bars: vec![Bar::of_seeds("none", &[])], ..Default::default() }.figure(""),
        Histogram::default().figure(""),
        HeatMap::default().figure(""),
        Panels::default().figure(""),
    ] {
        assert_eq!(figure.name, "figure");
        assert!(!figure.svg.contains("NaN") && !figure.svg.contains("inf"), "{}", figure.svg);
        well_formed(&figure.svg);
    }
}

#[test]
fn panels_of_different_kinds_share_a_table() {
    let bars = BarChart { title: "B".into(), bars: vec![Bar::new("one", 1.0)], label: "value".into(), ..Default::default() };
    let figure = Panels { panels: vec![line().into(), bars.into()], columns: 1, ..Default::default() }.figure("p");
    assert_eq!(figure.table.columns.len(), 6);
    assert!(figure.table.rows.iter().all(|row| row.len() == 6));
    assert_eq!(figure.table.rows[3][..3], ["B".into(), "bar: one".into(), Cell::from("value: 1")]);
    well_formed(&figure.svg);
}

#[test]
fn names_become_file_names() {
    assert_eq!(LineChart::default().figure("../a b").name, "---a-b");
}

#[test]
fn long_text_is_cut_or_wrapped() {
    assert_eq!(fit("a very long name", 60.0), "a very…");
    assert_eq!(wrap("one two three", 60.0), ["one two", "three"]);
}
