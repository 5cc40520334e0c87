//! `skep lb which`.

use crate::output::{Paint, Style};
use api::v1::WhichBackendResponse;

pub fn render(answer: &WhichBackendResponse, style: Style) -> String {
    let mut text = match answer.backend.as_str() {
        "" => style.paint(Paint::Bad, "dropped"),
        backend => {
            let place = match answer.backend_line {
                0 => String::new(),
                line => format!("   {}:{line}", answer.file),
            };
            format!("{}{place}", style.paint(Paint::Good, backend))
        }
    };
    text.push_str("\n\n");
    for step in &answer.steps {
        text.push_str(&format!("  {step}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        let answer = WhichBackendResponse {
            backend: "10.0.0.2".into(),
            backend_line: 17,
            file: "edge.yaml".into(),
            steps: vec!["the address and port are of VIP tcp 192.0.2.1:80".into(), "slot 3".into()],
            ..Default::default()
        };
        insta::assert_snapshot!(render(&answer, Style::PLAIN), @r"
        10.0.0.2   edge.yaml:17

          the address and port are of VIP tcp 192.0.2.1:80
          slot 3
        ");
        assert!(render(&WhichBackendResponse::default(), Style::PLAIN).starts_with("dropped\n"));
    }
}
