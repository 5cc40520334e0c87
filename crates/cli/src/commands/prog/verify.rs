//! `skep prog verify`: would a kernel take these programs, and if not, why.

mod data;
mod found;
mod growth;
mod kernels;
mod text;

use super::object_file::{RUNNING_KERNEL, Target, read_types};
use crate::failure::{Failure, NEGATIVE};
use crate::output::Screen;
use bpf_object::btf::{Btf, Kind, TypeId};
use bpf_object::{Object, Program, ProgramKind};
use bpf_verifier::{Facts, NotModelled, Options, Refusal, Request, Rules, Verdict, verify};
use found::{Found, find};
use growth::{Baseline, Cost};
use kernels::{Asked, Kernel, Told};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const LONG: &str = "\
Judges every program of the objects by the kernel's rules, without a kernel and without privileges.

The answer is one of three: accepted; refused, with the rule, the source line, the way that led \
there and what usually mends it; or not modelled, where the verifier has no rule for what the \
program does. Folders are searched for objects, also for those inside of executables, as tools \
built on libbpf carry them.

The rules are those of Linux 6.12. With --kernel each kernel of the list is asked: whether it has \
what the program needs, and what its own rules say where they are others. Profiles of 5.10, 6.1, \
6.12 and the newest kernel were made by booting them, those of 5.15 and 6.6 are derived by the \
versions that brought things. What a program reads of the kernel's types is looked up in those of \
the running kernel, or of --btf, unless --kernel-btf gives a kernel its own.";

const AFTER: &str = "\
Examples:
  skep prog verify filter.o
  skep prog verify filter.o --kernel 5.10,6.1      or `all`, `running`, a file of `skep prog profile`
  skep prog verify filter.o --kernel 5.10 --kernel-btf 5.10=vmlinux-5.10.btf
  skep prog verify build/ --budget 100000 -o sarif > verify.sarif
  skep prog verify build/ -o json > before.json    then, after a change:
  skep prog verify build/ --baseline before.json --max-growth 10
  skep prog verify filter.o --prog on_packet --steps 40 --stats

Exit codes: 0 all accepted, 1 one was refused (by one of the kernels), is over the budget or has
grown too much, 2 a file can't be read or the command line makes no sense, 6 nothing was refused,
but something could not be judged.";

/// Exit code if a program could neither be accepted nor refused.
const UNJUDGED: u8 = 6;

/// Check programs by the kernel's rules, and explain refusals
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = AFTER)]
pub struct Args {
    /// Objects, executables that carry objects, folders
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Only programs of this name
    #[arg(long = "prog", value_name = "NAME")]
    program: Option<String>,

    /// What programs are whose section's name doesn't say it, such as xdp or kprobe/do_exit
    #[arg(long = "section", value_name = "NAME")]
    section: Option<String>,

    /// Whether these kernels take the programs: 5.10, 6.1 ..., `all`, `running` or files
    #[arg(long, value_name = "LIST")]
    kernel: Option<String>,

    /// The types of one of these kernels; may be repeated
    #[arg(long, value_name = "KERNEL=FILE", requires = "kernel")]
    kernel_btf: Vec<String>,

    /// Fail if more instructions than this are looked at for a program
    #[arg(long = "budget", visible_alias = "max-processed", value_name = "N")]
    max_processed: Option<u32>,

    /// Show which programs cost the verifier more than in this earlier report (of `-o json`)
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// Fail if more instructions are looked at than in the baseline, by more than this percentage
    #[arg(long, value_name = "PERCENT", requires = "baseline")]
    max_growth: Option<u32>,

    /// As a loader without CAP_BPF
    #[arg(long)]
    unprivileged: bool,

    /// As with BPF_F_STRICT_ALIGNMENT
    #[arg(long)]
    strict_alignment: bool,

    /// Show what each function and the costliest lines cost the verifier
    #[arg(long)]
    stats: bool,

    /// How many of the last steps before a refusal are shown
    #[arg(long, value_name = "N", default_value_t = 6)]
    steps: usize,

    #[command(flatten)]
    target: Target,

    /// Output format; `table` is text, `sarif` is for code scanning
    #[arg(short, long, value_enum, default_value_t = Output::Table, value_name = "FORMAT")]
    output: Output,

    /// The same as `-o json`
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Table,
    Json,
    Yaml,
    Sarif,
}

/// A program, and what came of it.
struct Judged {
    file: String,
    program: String,
    section: String,
    kind: Option<ProgramKind>,
    answer: Answer,
    /// What each kernel that was asked for says.
    kernels: Vec<Kernel>,
    /// What it cost in the baseline.
    before: Option<Cost>,
    /// Costliest source lines: file, line, text, how often its instructions were looked at.
    lines: Vec<(String, u32, String, u64)>,
}

enum Answer {
    Accepted(Box<Facts>),
    /// Accepted by the rules, but costlier than allowed.
    OverBudget(Box<Facts>, u32),
    Refused(Box<Refusal>),
    NotModelled(NotModelled),
    /// It could not be linked, or nothing says what it is.
    NotLinked(String),
}

/// A file that is no object, or none that can be read.
struct Unread {
    file: String,
    reason: String,
}

#[derive(Default)]
struct Report {
    judged: Vec<Judged>,
    unread: Vec<Unread>,
    /// Percent by which programs may grow.
    max_growth: Option<u32>,
    /// Kernels whose profiles were not made by trying.
    derived: Vec<String>,
}

pub fn run(args: &Args, screen: &Screen) -> Result<ExitCode, Failure> {
    let found = find(&args.files)?;
    if found.is_empty() {
        return Err(Failure::Usage("there is no object in what was named".to_owned()));
    }
    let around = Around { args, types: kernel_types(args)?, kernels: asked(args)? };
    let baseline = args.baseline.as_deref().map(Baseline::read).transpose()?;
    let derived = around.kernels.iter().filter(|kernel| kernel.profile.is_derived());
    let mut report = Report {
        max_growth: args.max_growth,
        derived: derived.map(|kernel| kernel.name.clone()).collect(),
        ..Report::default()
    };
    let mut names = Vec::new();
    for Found { name, bytes } in &found {
        match super::object_file::parse(bytes) {
            Ok(mut object) => {
                names.extend(object.programs().map(|program| program.name.clone()));
                let configured = args.target.configure(&mut object);
                judge_object(&around, name, &object, &configured, &mut report);
            }
            Err(error) => {
                let reason = match bytes.starts_with(super::skeleton::MAGIC) {
                    true => error.to_string(),
                    false => super::object_file::NO_ELF.to_owned(),
                };
                report.unread.push(Unread { file: name.clone(), reason });
            }
        }
    }
    if let Some(name) = &args.program
        && report.judged.is_empty()
        && report.unread.is_empty()
    {
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(Failure::NotFound(format!(
            "there is no program `{name}` in what was named; there are {there}"
        )));
    }
    if let Some(baseline) = &baseline {
        growth::compare(&mut report, baseline);
    }
    match args.output {
        _ if args.json => screen.print_json(&data::json(&report))?,
        Output::Json => screen.print_json(&data::json(&report))?,
        Output::Yaml => screen.print_yaml(&data::json(&report))?,
        Output::Sarif => screen.print_json(&data::sarif(&report))?,
        Output::Table => screen.print(&text::report(&report, args, screen.style()))?,
    }
    Ok(ExitCode::from(report.code()))
}

/// What programs are held against.
struct Around<'a> {
    args: &'a Args,
    types: Option<Btf>,
    kernels: Vec<Asked>,
}

impl Judged {
    /// A kernel that was asked for would not take it.
    fn is_refused_somewhere(&self) -> bool {
        self.kernels.iter().any(Kernel::refuses)
    }

    fn is_open_somewhere(&self) -> bool {
        self.kernels.iter().any(|kernel| matches!(kernel.told, Told::Open(_)))
    }

    /// What it costs now, if it is accepted, and what it cost before.
    fn costs(&self) -> Option<(Cost, Cost)> {
        match &self.answer {
            Answer::Accepted(facts) | Answer::OverBudget(facts, _) => {
                Some((Cost::of(facts), self.before?))
            }
            _ => None,
        }
    }
}

/// The kernels of --kernel, with the types of --kernel-btf.
fn asked(args: &Args) -> Result<Vec<Asked>, Failure> {
    let list = args.kernel.as_deref().map_or(Ok(Vec::new()), super::profile::kernels)?;
    let mut asked: Vec<Asked> =
        list.into_iter().map(|(name, profile)| Asked { name, profile, types: None }).collect();
    for word in &args.kernel_btf {
        let Some((name, file)) = word.split_once('=') else {
            return Err(Failure::Usage(format!("--kernel-btf {word}: write KERNEL=FILE")));
        };
        let Some(kernel) = asked.iter_mut().find(|kernel| kernel.name == name) else {
            return Err(Failure::Usage(format!(
                "--kernel-btf {word}: --kernel doesn't name `{name}`"
            )));
        };
        kernel.types = Some(read_types(Path::new(file))?);
    }
    Ok(asked)
}

impl Report {
    fn code(&self) -> u8 {
        let any = |of: fn(&Answer) -> bool| self.judged.iter().any(|judged| of(&judged.answer));
        if !self.unread.is_empty() {
            2
        } else if any(|a| matches!(a, Answer::Refused(_) | Answer::OverBudget(..)))
            || self.judged.iter().any(Judged::is_refused_somewhere)
            || self.judged.iter().any(|judged| self.has_grown_too_much(judged))
        {
            NEGATIVE
        } else if any(|a| matches!(a, Answer::NotModelled(_) | Answer::NotLinked(_)))
            || self.judged.iter().any(Judged::is_open_somewhere)
        {
            UNJUDGED
        } else {
            0
        }
    }

    fn has_grown_too_much(&self, judged: &Judged) -> bool {
        let limit = self.max_growth.map(f64::from);
        limit
            .zip(judged.costs())
            .is_some_and(|(limit, (now, before))| now.percent_since(&before) > limit)
    }
}

fn kernel_types(args: &Args) -> Result<Option<Btf>, Failure> {
    match &args.target.btf {
        Some(file) => read_types(file).map(Some),
        None if Path::new(RUNNING_KERNEL).exists() => {
            read_types(Path::new(RUNNING_KERNEL)).map(Some)
        }
        None => Ok(None),
    }
}

fn judge_object(
    around: &Around<'_>,
    file: &str,
    object: &Object,
    configured: &Result<(), String>,
    report: &mut Report,
) {
    let args = around.args;
    let default = args.section.as_deref().and_then(ProgramKind::of_section);
    for function in object.programs() {
        if args.program.as_ref().is_some_and(|name| *name != function.name) {
            continue;
        }
        let mut judged = Judged {
            file: file.to_owned(),
            program: function.name.clone(),
            section: function.section.clone(),
            kind: ProgramKind::of_section(&function.section).or_else(|| default.clone()),
            answer: Answer::NotLinked(String::new()),
            kernels: Vec::new(),
            lines: Vec::new(),
            before: None,
        };
        match object.link(&function.name, around.types.as_ref()) {
            _ if configured.is_err() => {
                let reason = configured.clone().err().unwrap_or_default();
                judged.answer = Answer::NotLinked(reason);
            }
            Ok(program) => judge(around, object, program, &mut judged),
            Err(error) => judged.answer = Answer::NotLinked(error.to_string()),
        }
        report.judged.push(judged);
    }
}

fn judge(around: &Around<'_>, object: &Object, mut program: Program, judged: &mut Judged) {
    let Some(kind) = judged.kind.clone() else {
        judged.answer = Answer::NotLinked(format!(
            "section `{}` doesn't say what the program is for; say it with --section",
            program.section
        ));
        return;
    };
    program.kind = Some(kind.clone());
    // Of several kernels the newest gives the answer that is shown at length.
    let newest = around.kernels.iter().max_by_key(|asked| asked.profile.version);
    let rules = newest.map_or(Rules::default(), |asked| Rules::of_profile(&asked.profile));
    let verdict = judge_by(around, object, &program, &kind, around.types.as_ref(), rules);
    let mut others: Vec<(Rules, Verdict)> = Vec::new();
    for asked in &around.kernels {
        let own = Rules::of_profile(&asked.profile);
        let told = if asked.types.is_some() {
            with_own_types(around, object, &program, &kind, asked)
        } else if own == rules {
            kernels::kernel(asked, &program, object, &verdict)
        } else {
            let known = others.iter().position(|(known, _)| *known == own);
            let known = known.unwrap_or_else(|| {
                let types = around.types.as_ref();
                others.push((own, judge_by(around, object, &program, &kind, types, own)));
                others.len() - 1
            });
            kernels::kernel(asked, &program, object, &others[known].1)
        };
        judged.kernels.push(told);
    }
    judged.answer = match verdict {
        Verdict::Accepted(verified) => {
            let facts = Box::new(verified.facts().clone());
            judged.lines = costliest(&program, &facts);
            match around.args.max_processed {
                Some(limit) if facts.processed > limit => Answer::OverBudget(facts, limit),
                _ => Answer::Accepted(facts),
            }
        }
        Verdict::Refused(mut refusal) => {
            if let Some(missing) = missing_field(&program, object, refusal.slot) {
                refusal.message = missing;
                refusal.hint =
                    "ask first whether it is there (bpf_core_field_exists and the like), \
                                or name the types of the kernel that the program is for with --btf"
                        .to_owned();
            }
            Answer::Refused(Box::new(refusal))
        }
        Verdict::NotModelled(what) => Answer::NotModelled(what),
    };
}

fn judge_by(
    around: &Around<'_>,
    object: &Object,
    program: &Program,
    kind: &ProgramKind,
    types: Option<&Btf>,
    rules: Rules,
) -> Verdict {
    let options = Options {
        rules,
        privileged: !around.args.unprivileged,
        strict_alignment: around.args.strict_alignment,
        ..Options::default()
    };
    let mut request = Request::of_kind(program, kind.clone()).object(object).options(options);
    if let Some(types) = types {
        request = request.kernel(types);
    }
    verify(&request)
}

/// Linked and judged for a kernel whose types are known.
fn with_own_types(
    around: &Around<'_>,
    object: &Object,
    program: &Program,
    kind: &ProgramKind,
    asked: &Asked,
) -> Kernel {
    if let Some(kernel) = kernels::missing_target(asked, kind) {
        return kernel;
    }
    let types = asked.types.as_ref();
    let mut program = match object.link(&program.name, types) {
        Ok(program) => program,
        Err(error) => return kernels::not_linked(asked, error.to_string()),
    };
    program.kind = Some(kind.clone());
    let rules = Rules::of_profile(&asked.profile);
    let verdict = judge_by(around, object, &program, kind, types, rules);
    kernels::kernel(asked, &program, object, &verdict)
}

/// What a refused instruction asks of the kernel's types that they don't have.
fn missing_field(program: &Program, object: &Object, slot: Option<usize>) -> Option<String> {
    let asked = program.core.iter().find(|asked| Some(asked.slot) == slot)?;
    asked.answer.target.is_none().then_some(())?;
    let types = object.types.as_ref()?;
    let field = field_name(types, asked.root, &asked.path).unwrap_or_default();
    let root = types.describe(asked.root);
    Some(format!("CO-RE: the kernel's types have no {root}{field} ({})", asked.path))
}

/// A path such as `0:14` in words: `.freebind`.
fn field_name(types: &Btf, root: TypeId, path: &str) -> Option<String> {
    let mut text = String::new();
    let mut kind = root;
    // The first number is the element of what the pointer points to.
    for number in path.split(':').skip(1) {
        let number: usize = number.parse().ok()?;
        if let Some((_, Kind::Array(array))) = types.resolve(kind) {
            text += &format!("[{number}]");
            kind = array.element;
            continue;
        }
        let member = types.composite(kind)?.members.get(number)?;
        let name = types.string(member.name)?;
        if !name.is_empty() {
            text += &format!(".{name}");
        }
        kind = member.kind;
    }
    Some(text)
}

/// The ten source lines whose instructions were looked at most often.
fn costliest(program: &Program, facts: &Facts) -> Vec<(String, u32, String, u64)> {
    let mut lines: Vec<(String, u32, String, u64)> = Vec::new();
    for (slot, visits) in facts.visits.iter().enumerate().filter(|(_, visits)| **visits > 0) {
        let Some(line) = program.line(slot) else { continue };
        let known =
            lines.iter_mut().find(|(file, number, ..)| *number == line.line && *file == line.file);
        match known {
            Some((.., count)) => *count += u64::from(*visits),
            None => {
                lines.push((line.file.clone(), line.line, line.text.clone(), (*visits).into()));
            }
        }
    }
    lines.sort_by_key(|(.., count)| std::cmp::Reverse(*count));
    lines.truncate(10);
    lines
}
