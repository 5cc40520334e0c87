//! Brings one step after the other into force and compares every probe.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::case::{self, Expected, Mark, Step};
use super::desired::Desired;
use super::explain::explanation;
use super::pods::Pods;
use crate::Node;
use crate::probe::{Outcome as Answer, Target, Transport, Verdict};

/// How long a probe waits. A denied one always waits this long, so it sets the pace: a step's
/// probes all wait at the same time, and an allowed one takes well under a millisecond.
const WINDOW: Duration = Duration::from_millis(200);
/// A probe that should be allowed and isn't gets more time, since a busy machine loses time and
/// TCP sends its SYN again after one second. One that should be denied gets no second chance.
const MORE_TIME: [Duration; 2] = [Duration::from_millis(1_500), Duration::from_millis(4_000)];
/// Disagreements explained by the agent; beyond that many a run is broken anyhow.
const EXPLAINED: usize = 200;

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only the first of every so many steps.
    pub every: Option<usize>,
    /// Only this case.
    pub case: Option<u32>,
}

#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub steps: usize,
    pub passed: usize,
    pub failed: usize,
    /// Allowed only after more time.
    pub late: usize,
    pub took: Duration,
    /// Of the time, how much the agent took to bring steps into force.
    pub applying: Duration,
}

/// A probe whose answer isn't the expected one.
#[derive(Clone, Debug)]
pub struct Disagreement {
    pub case: u32,
    pub step: u32,
    pub steps: u32,
    pub description: String,
    pub expected: Expected,
    pub got: String,
    /// What the agent says of it.
    pub explanation: String,
}

/// Runs the steps on the node and reports each disagreement as it is found.
pub fn run(
    node: &Node,
    steps: &[Step],
    options: &Options,
    report: &mut dyn FnMut(&Disagreement),
) -> Result<Outcome> {
    let mut runner = Runner { node, pods: Pods::none(node)?, desired: Desired::default() };
    let started = Instant::now();
    let mut outcome = Outcome::default();
    let chosen = steps
        .iter()
        .filter(|step| options.case.is_none_or(|case| step.case == case))
        .step_by(options.every.unwrap_or(1).max(1));
    for step in chosen {
        runner
            .step(step, &mut outcome, report)
            .with_context(|| format!("case {}, step {} of {}", step.case, step.step, step.steps))?;
    }
    outcome.took = started.elapsed();
    Ok(outcome)
}

struct Runner<'a> {
    node: &'a Node,
    pods: Pods,
    desired: Desired,
}

/// A probe to be sent.
struct Question<'a> {
    expected: &'a Expected,
    target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Allowed,
    Denied,
    /// Neither, and never as expected.
    Else(String),
}

impl Runner<'_> {
    fn step(
        &mut self,
        step: &Step,
        outcome: &mut Outcome,
        report: &mut dyn FnMut(&Disagreement),
    ) -> Result<()> {
        let began = Instant::now();
        self.bring_into_force(step)?;
        outcome.applying += began.elapsed();

        let mut questions = self.questions(step)?;
        let mut answers = self.ask(&mut questions, WINDOW)?;
        for window in MORE_TIME {
            let late: Vec<usize> = (0..questions.len())
                .filter(|at| questions[*at].expected.combined == Mark::Allowed)
                .filter(|at| answers[*at] != Got::Allowed)
                .collect();
            if late.is_empty() {
                break;
            }
            let mut again: Vec<Question> = late
                .iter()
                .map(|at| Question {
                    expected: questions[*at].expected,
                    target: questions[*at].target.clone(),
                })
                .collect();
            for (at, answer) in late.into_iter().zip(self.ask(&mut again, window)?) {
                outcome.late += usize::from(answer == Got::Allowed);
                answers[at] = answer;
            }
        }
        self.pods.forget_arrivals();

        outcome.steps += 1;
        for (question, got) in questions.iter().zip(answers) {
            let agrees = match question.expected.combined {
                Mark::Allowed => got == Got::Allowed,
                Mark::Denied => got == Got::Denied,
            };
            if agrees {
                outcome.passed += 1;
                continue;
            }
            outcome.failed += 1;
            let explanation = if outcome.failed <= EXPLAINED {
                explanation(&self.node.skep(), question.expected, &question.target)
            } else {
                String::new()
            };
            let got = match got {
                Got::Allowed => "allowed".into(),
                Got::Denied => "denied".into(),
                Got::Else(what) => what,
            };
            report(&Disagreement {
                case: step.case,
                step: step.step,
                steps: step.steps,
                description: step.description.clone(),
                expected: question.expected.clone(),
                got,
                explanation,
            });
        }
        Ok(())
    }

    fn bring_into_force(&mut self, step: &Step) -> Result<()> {
        let skep = self.node.skep();
        let gone = self.desired.to_delete(step, &self.pods);
        if !gone.is_empty() {
            skep.delete(&gone)?;
            self.desired.deleted(&gone);
        }
        let going = self.pods.going(step);
        self.pods.end(&going)?;
        self.pods.start_missing(self.node, step)?;
        let changed = self.desired.to_apply(step, &self.pods);
        if !changed.is_empty() {
            skep.apply(&changed)?;
            self.desired.applied(changed);
        }
        Ok(())
    }

    /// All probes of a step but those of a pod to itself.
    fn questions<'a>(&self, step: &'a Step) -> Result<Vec<Question<'a>>> {
        let others = step.verdicts.iter().filter(|expected| expected.from != expected.to);
        others
            .map(|expected| {
                let to = step.pods.iter().find(|pod| pod.full_name() == expected.to);
                let to = to.with_context(|| format!("no pod {}", expected.to))?;
                let (transport, port) = case::split_port(&expected.port)?;
                let number = to.port(transport, port);
                let number = number.with_context(|| format!("{} has no {port}", expected.to))?;
                let target = Target::new(transport, to.ip, number);
                Ok(Question { expected, target })
            })
            .collect()
    }

    fn ask(&mut self, questions: &mut [Question<'_>], window: Duration) -> Result<Vec<Got>> {
        let mut by_sender: BTreeMap<String, Vec<Target>> = BTreeMap::new();
        for question in questions.iter_mut() {
            if question.target.transport == Transport::Sctp {
                question.target.tag = self.pods.next_tag();
            }
            let targets = by_sender.entry(question.expected.from.clone()).or_default();
            targets.push(question.target.clone());
        }
        let mut answers: BTreeMap<String, std::vec::IntoIter<Answer>> = BTreeMap::new();
        for (name, outcomes) in self.pods.probe(&by_sender, window)? {
            answers.insert(name, outcomes.into_iter());
        }
        if questions.iter().any(|question| question.target.transport == Transport::Sctp) {
            self.pods.gather_arrivals()?;
        }
        let got = questions.iter().map(|question| {
            let answer = answers.get_mut(&question.expected.from).and_then(Iterator::next);
            let answer =
                answer.with_context(|| format!("no answer for {}", question.expected.to))?;
            Ok(self.judge(question, answer.verdict))
        });
        got.collect()
    }

    fn judge(&self, question: &Question<'_>, verdict: Verdict) -> Got {
        let Question { expected, target } = question;
        match verdict {
            Verdict::Answered(name) if name == expected.to => Got::Allowed,
            Verdict::Silent => Got::Denied,
            Verdict::Sent if self.pods.arrived(&expected.to, target.port, target.tag) => {
                Got::Allowed
            }
            Verdict::Sent => Got::Denied,
            other => Got::Else(other.to_string()),
        }
    }
}
