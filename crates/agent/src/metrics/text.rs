//! The text format of Prometheus, version 0.0.4: for each metric its help, its type, its series.

use std::fmt::{Display, Write as _};

#[derive(Debug, Default)]
pub struct Text(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

impl Text {
    /// Begins a metric.
    pub fn head(&mut self, metric: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {metric} {help}\n# TYPE {metric} {kind}");
    }

    /// A series of the metric that was begun.
    pub fn line(&mut self, metric: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let _ = match labels.is_empty() {
            true => writeln!(self.0, "{metric} {value}"),
            false => writeln!(self.0, "{metric}{{{}}} {value}", labels.join(",")),
        };
    }

    /// A metric with one series.
    pub fn single(&mut self, metric: &str, kind: Kind, help: &str, value: impl Display) {
        self.head(metric, kind, help);
        self.line(metric, &[], value);
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format() {
        let mut text = Text::default();
        text.single("skep_a", Kind::Gauge, "First\nsecond.", 1);
        text.head("skep_b_total", Kind::Counter, "B.");
        text.line("skep_b_total", &[("x", "a\"b\\c\nd"), ("y", "")], 2.5);
        assert_eq!(
            text.into_string(),
            "# HELP skep_a First\\nsecond.\n# TYPE skep_a gauge\nskep_a 1\n\
             # HELP skep_b_total B.\n# TYPE skep_b_total counter\n\
             skep_b_total{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 2.5\n"
        );
    }
}
