//! `skep-fuzz TARGET SEED COUNT SECONDS KERNEL [OBJECT...]`, as `cargo xtask fuzz` calls it.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use fuzz::Limits;

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

/// False if something was found.
fn run(arguments: &[String]) -> Result<bool, String> {
    let [target, seed, count, seconds, kernel, paths @ ..] = arguments else {
        return Err("skep-fuzz TARGET SEED COUNT SECONDS KERNEL [OBJECT...]".to_owned());
    };
    let number = |text: &String| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let limits = Limits {
        seed: number(seed)?,
        count: number(count)?,
        time: Duration::from_secs(number(seconds)?),
    };
    let read = |path: &String| fs::read(path).map_err(|error| format!("{path}: {error}"));
    let files = paths.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut found = fuzz::target(target, &files, number(kernel)? as usize)
        .map_err(|error| error.to_string())?;
    let report = fuzz::run(found.as_mut(), limits);
    println!("{target}: {report}");
    Ok(report.finds.is_empty())
}
