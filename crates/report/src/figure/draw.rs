use maud::{Markup, PreEscaped, html};

use super::Reference;
use super::axis::Axis;

/// Width of every figure, in units of its view box.
pub(super) const WIDTH: f64 = 400.0;
/// Size of all text.
const TEXT: f64 = 13.0;
/// Distance between lines of text.
pub(super) const LINE: f64 = 18.0;
/// Number of series colours.
pub(super) const COLOURS: usize = 6;

/// Light and dark value of the colours: surface, ink, quiet ink, grid, heat, cold, then the series.
///
/// Derived from the palette of M. Okabe and K. Ito for colour-blind readers, darkened or lightened until each series and
/// each full shade has a contrast of 3:1 with the surface of its theme; a test checks that. Fainter shades are outlined
/// in quiet ink.
pub(super) const PALETTE: [(&str, &str, &str); 6 + COLOURS] = [
    ("surface", "#ffffff", "#171a20"),
    ("ink", "#1b1e24", "#e9ebef"),
    ("quiet", "#565c67", "#a9b0bc"),
    ("grid", "#dfe2e7", "#343a45"),
    ("heat", "#4298d0", "#2d6ca6"),
    ("cold", "#d47b3a", "#a0541c"),
    ("1", "#0067a5", "#56b4e9"),
    ("2", "#c4500a", "#ff9a5c"),
    ("3", "#007a5a", "#3ccb9e"),
    ("4", "#9c3f86", "#e695c7"),
    ("5", "#846800", "#e8ce4b"),
    ("6", "#4a4e57", "#b8bec9"),
];

/// A part of a figure: shapes and the height that they take.
#[derive(Clone, Debug)]
pub(super) struct Drawing {
    pub(super) height: f64,
    pub(super) shapes: Markup,
}

impl Drawing {
    /// The whole SVG file.
    pub(super) fn svg(&self, name: &str, title: &str, alt: &str) -> String {
        let view = format!("0 0 {} {}", n(WIDTH), n(self.height));
        html! {
            svg xmlns="http://www.w3.org/2000/svg" class="gradus-figure" viewBox=(view) role="img" aria-labelledby=(format!("{name}-title {name}-desc")) {
                title id=(format!("{name}-title")) { (title) }
                desc id=(format!("{name}-desc")) { (alt) }
                style { (PreEscaped(style())) }
                rect class="surface" width=(n(WIDTH)) height=(n(self.height)) {}
                (self.shapes)
            }
        }
        .into_string()
    }
}

/// The style of every figure. A page may set `--gradus-surface` and the others; a file of its own falls back on the
/// values of the reader's theme.
fn style() -> String {
    let values = |dark: bool| -> String {
        let value =
            |(name, light, night): &(&str, &str, &str)| format!("--{name}:var(--gradus-{name},{});", if dark { night } else { light });
        PALETTE.iter().map(value).collect()
    };
    let series: String = (1..=COLOURS).map(|i| format!(".gradus-figure .s{i}{{--c:var(--{i})}}")).collect();
    format!(
        ".gradus-figure{{{}font:{TEXT}px system-ui,sans-serif}}\
         @media(prefers-color-scheme:dark){{.gradus-figure{{{}}}}}{series}\
         .gradus-figure text{{fill:var(--ink);paint-order:stroke;stroke:var(--surface);stroke-width:3px;stroke-linejoin:round}}.gradus-figure .cell{{stroke:none}}.gradus-figure .quiet{{fill:var(--quiet)}}\
         .gradus-figure .surface{{fill:var(--surface)}}.gradus-figure .grid{{stroke:var(--grid)}}\
         .gradus-figure .axis{{stroke:var(--quiet)}}\
         .gradus-figure .reference{{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:2 3}}\
         .gradus-figure .line{{stroke:var(--c);stroke-width:2;fill:none;stroke-linejoin:round}}\
         .gradus-figure .mark{{fill:var(--c);stroke:var(--surface)}}\
         .gradus-figure .bar{{fill:var(--c)}}.gradus-figure .area{{fill:var(--c);fill-opacity:.15}}\
         .gradus-figure .whisker{{stroke:var(--ink);stroke-width:1.5;fill:none}}\
         .gradus-figure .series .whisker{{stroke:var(--c)}}\
         .gradus-figure .dot{{fill:var(--surface);stroke:var(--ink);stroke-width:1.25}}\
         .gradus-figure .heat{{fill:var(--heat)}}.gradus-figure .cold{{fill:var(--cold)}}\
         .gradus-figure .heat,.gradus-figure .cold{{stroke:var(--quiet);stroke-width:.5}}\
         .gradus-figure .shades rect{{stroke:none}}",
        values(false),
        values(true)
    )
}

/// A coordinate, to a tenth of a unit.
pub(super) fn n(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), String::from)
}

/// The width that a text is likely to take; fonts differ, so this is generous.
pub(super) fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * TEXT * 0.56
}

/// The text as it fits into a width, ended with an ellipsis where it does not.
pub(super) fn fit(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.into();
    }
    let count = ((width / (TEXT * 0.56)) as usize).saturating_sub(1);
    text.chars().take(count).collect::<String>().trim_end().to_string() + "…"
}

/// Breaks a text between words into lines of at most a width; a longer word is cut.
pub(super) fn wrap(text: &str, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(line) + text_width(word) + TEXT * 0.56 <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines.iter().map(|line| fit(line, width)).collect()
}

/// A text that starts at, is centred on or ends at `x`, for the anchors `start`, `middle` and `end`.
pub(super) fn text(x: f64, y: f64, anchor: &str, class: &str, content: &str) -> Markup {
    html! { text x=(n(x)) y=(n(y)) text-anchor=(anchor) class=(class) { (content) } }
}

pub(super) fn segment(class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) -> Markup {
    html! { line class=(class) x1=(n(x1)) y1=(n(y1)) x2=(n(x2)) y2=(n(y2)) {} }
}

/// The corners of a line as the attribute `points`.
pub(super) fn points(corners: &[[f64; 2]]) -> String {
    corners.iter().map(|[x, y]| format!("{},{}", n(*x), n(*y))).collect::<Vec<_>>().join(" ")
}

/// The class of the colour of series number `index`.
pub(super) fn colour(index: usize) -> String {
    format!("s{}", index % COLOURS + 1)
}

/// The dashes of series number `index`, so that lines differ without colour.
pub(super) fn dashes(index: usize) -> &'static str {
    ["none", "7 3", "2 3", "8 3 2 3", "12 4"][index % 5]
}

/// A marker of series number `index`: circle, square, diamond, triangle up or down.
pub(super) fn marker(index: usize, x: f64, y: f64) -> Markup {
    let r = 4.0;
    let corners: &[[f64; 2]] = match index % 5 {
        0 => return html! { circle class="mark" cx=(n(x)) cy=(n(y)) r=(n(r)) {} },
        1 => &[[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]],
        2 => &[[0.0, -1.4], [1.4, 0.0], [0.0, 1.4], [-1.4, 0.0]],
        3 => &[[0.0, -1.3], [1.3, 1.0], [-1.3, 1.0]],
        _ => &[[0.0, 1.3], [1.3, -1.0], [-1.3, -1.0]],
    };
    let corners: Vec<[f64; 2]> = corners.iter().map(|[dx, dy]| [x + r * dx, y + r * dy]).collect();
    html! { polygon class="mark" points=(points(&corners)) {} }
}

/// One entry of a legend.
pub(super) enum Key<'a> {
    Line(usize, &'a str),
    Area(usize, &'a str),
    Reference(&'a str),
    Dot(&'a str),
    Whisker(&'a str),
}

impl Key<'_> {
    fn name(&self) -> &str {
        match self {
            Key::Line(_, name) | Key::Area(_, name) | Key::Reference(name) | Key::Dot(name) | Key::Whisker(name) => name,
        }
    }

    /// A sample of 24 by 10 units around a middle line.
    fn sample(&self, x: f64, y: f64) -> Markup {
        match *self {
            Key::Line(index, _) => html! {
                g class=(colour(index)) {
                    line class="line" stroke-dasharray=(dashes(index)) x1=(n(x)) y1=(n(y)) x2=(n(x + 24.0)) y2=(n(y)) {}
                    (marker(index, x + 12.0, y))
                }
            },
            Key::Area(index, _) => html! {
                g class=(colour(index)) {
                    rect class="area" x=(n(x)) y=(n(y - 6.0)) width="24" height="12" {}
                    rect class="line" stroke-dasharray=(dashes(index)) x=(n(x)) y=(n(y - 6.0)) width="24" height="12" {}
                }
            },
            Key::Reference(_) => segment("reference", [x, y], [x + 24.0, y]),
            Key::Dot(_) => html! { circle class="dot" cx=(n(x + 12.0)) cy=(n(y)) r="3" {} },
            Key::Whisker(_) => whisker([x + 2.0, y], [x + 22.0, y]),
        }
    }
}

/// A line with a short bar across each end, level or upright.
pub(super) fn whisker([x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) -> Markup {
    let (dx, dy) = if (y2 - y1).abs() < (x2 - x1).abs() { (0.0, 4.0) } else { (4.0, 0.0) };
    html! {
        path class="whisker" d=(format!(
            "M{} {}L{} {}M{} {}L{} {}M{} {}L{} {}",
            n(x1), n(y1), n(x2), n(y2), n(x1 - dx), n(y1 - dy), n(x1 + dx), n(y1 + dy), n(x2 - dx), n(y2 - dy), n(x2 + dx), n(y2 + dy)
        )) {}
    }
}

/// The legend, in as many rows as it needs, from the height `top` on.
pub(super) fn legend(keys: &[Key], left: f64, right: f64, top: f64) -> Drawing {
    const SAMPLE: f64 = 30.0;
    const GAP: f64 = 14.0;
    let (mut x, mut y) = (left, top + LINE / 2.0);
    let mut placed = Vec::new();
    for key in keys {
        let name = fit(key.name(), right - left - SAMPLE);
        let width = SAMPLE + text_width(&name);
        if x > left && x + width > right {
            (x, y) = (left, y + LINE);
        }
        placed.push((key, name, x, y));
        x += width + GAP;
    }
    let height = if keys.is_empty() { 0.0 } else { y + LINE / 2.0 - top };
    let shapes = html! {
        @for (key, name, x, y) in placed {
            (key.sample(x, y))
            (text(x + SAMPLE, y + 4.5, "start", "", &name))
        }
    };
    Drawing { height, shapes }
}

/// The area that data is drawn into, and its frame: labels, ticks, grid, references, legend.
pub(super) struct Plot<'a> {
    /// Left and right end of the whole.
    pub(super) span: [f64; 2],
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) x_label: &'a str,
    pub(super) y_label: &'a str,
    pub(super) keys: Vec<Key<'a>>,
    /// Height of the area.
    pub(super) height: f64,
}

impl Plot<'_> {
    /// Places the axes, and puts `data`, `references` and the frame together.
    pub(super) fn draw(self, references: &[Reference], data: impl FnOnce(&Axis, &Axis) -> Markup) -> Drawing {
        // Half of the last label stands out to the right.
        let last = self.x.ticks().last().map_or(0.0, |(_, label)| text_width(&label) / 2.0);
        let [left, right] = [self.span[0] + 4.0, self.span[1] - last.max(8.0) - 4.0];
        let heading = wrap(self.y_label, right - left);
        let legend = legend(&self.keys, left, right, heading.len() as f64 * LINE + 2.0);
        let top = heading.len() as f64 * LINE + legend.height + 12.0;
        let bottom = top + self.height;
        let y = self.y.between(bottom, top);
        let labels = y.ticks().map(|(_, label)| text_width(&label)).fold(0.0, f64::max);
        let area = left + labels + 8.0;
        let x = self.x.between(area, right);
        let footing = wrap(self.x_label, right - left);
        let shapes = html! {
            @for (i, line) in heading.iter().enumerate() { (text(left, (i as f64 + 1.0) * LINE - 4.0, "start", "quiet", line)) }
            (legend.shapes)
            @for (at, label) in y.ticks() {
                (segment("grid", [area, at], [right, at]))
                (text(area - 6.0, at + 4.5, "end", "quiet", &label))
            }
            (bottom_axis(&x, [area, right], bottom))
            @for reference in references {
                @if let Some(at) = y.place(reference.value) { (segment("reference", [area, at], [right, at])) }
            }
            (data(&x, &y))
            @for (i, line) in footing.iter().enumerate() {
                (text((area + right) / 2.0, bottom + 36.0 + i as f64 * LINE, "middle", "quiet", line))
            }
        };
        Drawing { height: bottom + 24.0 + footing.len() as f64 * LINE + 6.0, shapes }
    }
}

/// The line along the bottom with its ticks; labels that would touch the one before are left out.
pub(super) fn bottom_axis(x: &Axis, [left, right]: [f64; 2], bottom: f64) -> Markup {
    let mut free = f64::NEG_INFINITY;
    let mut labels = Vec::new();
    for (at, label) in x.ticks() {
        let half = text_width(&label) / 2.0;
        if at - half >= free {
            free = at + half + 6.0;
            labels.push((at, label));
        }
    }
    html! {
        (segment("axis", [left, bottom], [right, bottom]))
        @for (at, label) in labels {
            (segment("axis", [at, bottom], [at, bottom + 4.0]))
            (text(at, bottom + 18.0, "middle", "quiet", &label))
        }
    }
}
