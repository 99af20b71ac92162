//! Prometheus' text format, 0.0.4: families with their help and type, samples with their labels; pure.

use std::fmt::{Display, Write};

use crate::counters::Histogram;

/// The format's name, for `Content-Type`.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of number a family has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// It never falls, but to 0 with a restart.
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label's name and value.
pub(super) type Label<'a> = (&'static str, &'a str);

/// An answer that is being written, one family after the other.
#[derive(Debug, Default)]
pub(super) struct Text(String);

/// One family; its head is written with its first sample.
#[derive(Debug)]
pub(super) struct Family<'t> {
    out: &'t mut String,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    begun: bool,
}

impl Text {
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> Family<'_> {
        Family { out: &mut self.0, name, kind, help, begun: false }
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, value: impl Display) {
        self.family(name, Kind::Gauge, help).sample(&[], value);
    }

    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.family(name, Kind::Counter, help).sample(&[], value);
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        self.line("", labels, None, value);
    }

    pub(super) fn histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram) {
        for (bound, count) in histogram.cumulative() {
            self.line("_bucket", labels, Some(&bound.as_secs_f64()), count);
        }
        self.line("_bucket", labels, Some(&"+Inf"), histogram.count());
        self.line("_sum", labels, None, histogram.sum().as_secs_f64());
        self.line("_count", labels, None, histogram.count());
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], bound: Option<&dyn Display>, value: impl Display) {
        const WRITTEN: &str = "a text takes what is written to it";
        let Self { out, name, kind, help, .. } = self;
        if !self.begun {
            write!(out, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str()).expect(WRITTEN);
            self.begun = true;
        }
        write!(out, "{name}{suffix}").expect(WRITTEN);
        let mut before = '{';
        for (label, value) in labels {
            write!(out, "{before}{label}=\"").expect(WRITTEN);
            escape(out, value);
            out.push('"');
            before = ',';
        }
        if let Some(bound) = bound {
            write!(out, "{before}le=\"{bound}\"").expect(WRITTEN);
            before = ',';
        }
        if before == ',' {
            out.push('}');
        }
        writeln!(out, " {value}").expect(WRITTEN);
    }
}

fn escape(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn families_read_as_the_format_wants() {
        const BOUNDS: &[Duration] = &[Duration::from_micros(500), Duration::from_millis(10), Duration::from_secs(60)];
        let mut histogram = Histogram::new(BOUNDS);
        histogram.observe(Duration::from_millis(10));
        histogram.observe(Duration::from_secs(90));
        let mut text = Text::default();
        text.gauge("depth", "How many.", 7);
        text.gauge("start_seconds", "When.", 1_763_723_456.25);
        text.counter("lost_total", "How many were lost.", 0);
        text.family("none", Kind::Gauge, "Without a sample.");
        let mut jobs = text.family("jobs_total", Kind::Counter, "Jobs.");
        jobs.sample(&[("plugin", "a\\b\"c\nd"), ("outcome", "dead")], 3);
        jobs.sample(&[("plugin", "ä"), ("outcome", "dead")], 4);
        text.family("wait_seconds", Kind::Histogram, "Waiting.").histogram(&[("plugin", "a")], &histogram);
        text.family("commit_seconds", Kind::Histogram, "Commits.").histogram(&[], &Histogram::new(&BOUNDS[..1]));
        let expected = r#"# HELP depth How many.
# TYPE depth gauge
depth 7
# HELP start_seconds When.
# TYPE start_seconds gauge
start_seconds 1763723456.25
# HELP lost_total How many were lost.
# TYPE lost_total counter
lost_total 0
# HELP jobs_total Jobs.
# TYPE jobs_total counter
jobs_total{plugin="a\\b\"c\nd",outcome="dead"} 3
jobs_total{plugin="ä",outcome="dead"} 4
# HELP wait_seconds Waiting.
# TYPE wait_seconds histogram
wait_seconds_bucket{plugin="a",le="0.0005"} 0
wait_seconds_bucket{plugin="a",le="0.01"} 1
wait_seconds_bucket{plugin="a",le="60"} 1
wait_seconds_bucket{plugin="a",le="+Inf"} 2
wait_seconds_sum{plugin="a"} 90.01
wait_seconds_count{plugin="a"} 2
# HELP commit_seconds Commits.
# TYPE commit_seconds histogram
commit_seconds_bucket{le="0.0005"} 0
commit_seconds_bucket{le="+Inf"} 0
commit_seconds_sum 0
commit_seconds_count 0
"#;
        assert_eq!(text.into_string(), expected);
    }
}
