//! Progress as bars on a terminal, and as sparse lines of fields elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

use gradus_base::Observer;
use gradus_report::duration;
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

/// Between two movements of a bar's spinner.
const TICK: Duration = Duration::from_millis(120);

/// One bar per stage that has not ended, with rate and time left.
#[derive(Default)]
pub(crate) struct Bars {
    all: MultiProgress,
    stages: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn bar(&mut self, stage: &str, total: Option<u64>) -> &ProgressBar {
        self.stages.entry(stage.into()).or_insert_with(|| {
            let bar = self.all.add(total.map_or_else(ProgressBar::no_length, ProgressBar::new));
            let template = match total {
                Some(_) => "{spinner} {msg:50!} {wide_bar} {pos}/{len}  {left}",
                None => "{spinner} {msg:50!} {pos}  {per_sec}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.with_key("left", time_left));
            }
            // What takes long between two reports is seen to run.
            bar.enable_steady_tick(TICK);
            bar.with_message(stage.to_string())
        })
    }
}

/// Nothing before the first step, from which no rate can be told.
fn time_left(state: &ProgressState, to: &mut dyn fmt::Write) {
    if state.pos() > 0 {
        // A bar that cannot be drawn is not worth stopping for.
        let _ = write!(to, "{} left", duration(state.eta().as_secs_f64()));
    }
}

impl Observer for Bars {
    fn progress(&mut self, done: u64, total: Option<u64>, stage: &str) {
        if total.is_some_and(|total| done >= total) {
            if let Some(bar) = self.stages.remove(stage) {
                bar.finish_and_clear();
                self.all.remove(&bar);
            }
            return;
        }
        self.bar(stage, total).set_position(done);
    }

    fn message(&mut self, text: &str) {
        // Nothing better can be done when the terminal does not take a line.
        let _ = self.all.println(text);
    }
}

/// What is left of an ended system's bars goes away.
impl Drop for Bars {
    fn drop(&mut self) {
        let _ = self.all.clear();
    }
}

/// Lines of fields between tabs: `progress SLUG STAGE DONE TOTAL` and `message SLUG TEXT`. Progress comes at most once
/// in an interval; an unknown total is `-`.
pub(crate) struct Lines<'a> {
    to: &'a mut (dyn Write + Send),
    slug: &'a str,
    interval: Duration,
    last: Instant,
}

impl<'a> Lines<'a> {
    /// The first line comes after one interval.
    pub(crate) fn new(to: &'a mut (dyn Write + Send), slug: &'a str, interval: Duration) -> Self {
        Self { to, slug, interval, last: Instant::now() }
    }
}

impl Observer for Lines<'_> {
    fn progress(&mut self, done: u64, total: Option<u64>, stage: &str) {
        if self.last.elapsed() < self.interval {
            return;
        }
        self.last = Instant::now();
        let total = total.map_or("-".into(), |total| total.to_string());
        // Progress that cannot be written is not worth stopping for.
        let _ = writeln!(self.to, "progress\t{}\t{}\t{done}\t{total}", self.slug, field(stage));
    }

    fn message(&mut self, text: &str) {
        let _ = writeln!(self.to, "message\t{}\t{}", self.slug, field(text));
    }
}

/// A text without the characters that separate fields and lines.
fn field(text: &str) -> String {
    text.replace(['\t', '\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_fields_between_tabs() {
        let mut text = Vec::new();
        let mut lines = Lines::new(&mut text, "fake", Duration::ZERO);
        lines.progress(3, Some(10), "seed 0\ttraining");
        lines.progress(4, None, "test");
        lines.message("two\nlines");
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "progress\tfake\tseed 0 training\t3\t10\nprogress\tfake\ttest\t4\t-\nmessage\tfake\ttwo lines\n"
        );
    }

    #[test]
    fn progress_within_the_interval_is_left_out() {
        let mut text = Vec::new();
        let mut lines = Lines::new(&mut text, "fake", Duration::from_secs(3600));
        for done in 0..1000 {
            lines.progress(done, Some(1000), "training");
        }
        lines.message("done");
        assert_eq!(text, b"message\tfake\tdone\n");
    }

    #[test]
    fn stages_that_end_leave_no_bar() {
        let mut bars = Bars::default();
        for done in 0..=3 {
            bars.progress(done, Some(3), "one");
            bars.progress(done, None, "two");
        }
        assert_eq!(bars.stages.keys().collect::<Vec<_>>(), ["two"]);
        bars.progress(3, Some(3), "one");
        assert_eq!(bars.stages.len(), 1);
    }
}
