use std::process::Command;

use super::*;

#[test]
fn stat_lines() {
    let tail = "S 77 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
    #[track_caller]
    fn check(text: &str, expect: Option<(&str, u32, u64)>) {
        let parsed = Stat::parse(text);
        let parsed = parsed.as_ref().map(|s| (s.comm.as_str(), s.parent, s.start.ticks));
        assert_eq!(parsed, expect, "{text}");
    }
    check(&format!("1 (sh) {tail}"), Some(("sh", 77, 4242)));
    check(&format!("1 (a) b (c)) {tail}"), Some(("a) b (c)", 77, 4242)));
    check("1 (sh) S 77", None);
    check("1 sh S 77", None);
    check("", None);
}

#[test]
fn a_child() {
    let before = boot_time().unwrap();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    // Between fork and exec the child is still this program, and in exec it has no arguments.
    let process = loop {
        let process = Process::read(child.id()).unwrap();
        if process.comm == "sleep" && !process.arguments.is_empty() {
            break process;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(process.pid, child.id());
    assert_eq!(process.parent, std::process::id());
    assert_eq!(process.uid, nix::unistd::getuid().as_raw());
    assert_eq!(process.arguments, ["sleep", "60"]);
    assert!(process.exe.unwrap().is_absolute());
    let tick = Duration::from_millis(10);
    let start = Duration::from_nanos(process.start.nanoseconds());
    assert!(start + tick >= before && start <= before + Duration::from_secs(5), "{start:?}");
    assert!(process.start.is(process.start.nanoseconds() + 9_999_999));
    assert!(!process.start.is(process.start.nanoseconds() + 10_000_000));
    assert!(matches!(Process::read(child.id()), Err(Error::ProcessMissing { .. })));
}

#[test]
fn this_process() {
    let pid = std::process::id();
    assert!(pids().unwrap().contains(&pid));
    let process = Process::read(pid).unwrap();
    assert_eq!(process.start, start_of(pid).unwrap());
    assert_eq!(process.exe.as_deref(), std::env::current_exe().ok().as_deref());
}

#[test]
fn clocks() {
    assert_eq!(boot_id().unwrap().len(), 36);
    let clock = BootClock::now().unwrap();
    let now = u64::try_from(boot_time().unwrap().as_nanos()).unwrap();
    let wall = clock.wall(now);
    let off = SystemTime::now().duration_since(wall).unwrap_or_else(|early| early.duration());
    assert!(off < Duration::from_secs(1), "{off:?}");
    assert!(clock.boot() <= wall);
}
