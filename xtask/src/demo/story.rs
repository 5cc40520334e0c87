//! What the demo shows.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use testkit::probe::{Fetched, Probe, Target, Transport};

use super::{LOCKDOWN, Shop, programs};
use crate::workspace;

const REQUESTS: usize = 1_000;
const CACHE_PORT: u16 = 6379;
/// For what is denied: nothing comes back, however long one waits.
const WINDOW: Duration = Duration::from_millis(300);
const EFFECT: Duration = Duration::from_secs(5);

pub fn tell(shop: &Shop) -> Result<()> {
    println!(
        "  client ──► web ({}:80) ──► web-1, web-2        cache (redis:{CACHE_PORT})\n",
        shop.service
    );
    let mut client = Probe::start(&shop.probe, &shop.client.place, "client")?;
    let web = Target::new(Transport::Tcp, shop.service, 80);
    println!("  {}", balance(&client.fetch(&web, REQUESTS)?)?);
    decisions(shop)?;
    lockdown(shop, &mut client, &web)?;
    drop(client);
    flows(shop)
}

/// `1,000 requests to web      web-1 503   web-2 497     p50 61 µs   p99 140 µs`
fn balance(fetched: &Fetched) -> Result<String> {
    if let Some(failure) = fetched.failures.first() {
        bail!("{} of {REQUESTS} requests failed, the first: {failure}", fetched.failures.len());
    }
    let counts: Vec<String> =
        fetched.bodies.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let percentile = |percent: usize| {
        let at = (fetched.microseconds.len() * percent / 100).min(REQUESTS - 1);
        fetched.microseconds.get(at).copied().unwrap_or_default()
    };
    let (middle, slow) = (percentile(50), percentile(99));
    let counts = counts.join("   ");
    Ok(format!("1,000 requests to web      {counts}     p50 {middle} µs   p99 {slow} µs"))
}

/// Who may use the cache, tried with redis-cli, and why.
fn decisions(shop: &Shop) -> Result<()> {
    for (workload, expected) in [(&shop.client, None), (&shop.web, Some("PONG"))] {
        let answer = programs::redis_ping(workload, shop.cache, WINDOW)?;
        let name = &workload.name;
        let why = Reason::of(&json_explained(shop, name)?)?;
        ensure!(
            answer.as_deref() == expected && why.allowed == expected.is_some(),
            "{name} asked the cache and got {answer:?}, which the policy doesn't explain"
        );
        let verdict = if why.allowed { "allowed" } else { "denied" };
        let path = format!("{name:<6} ► cache:{CACHE_PORT}");
        println!("  {path:<26} {verdict:<10} {:<51} {}", why.text, why.place);
    }
    Ok(())
}

fn json_explained(shop: &Shop, from: &str) -> Result<Value> {
    let from = format!("shop/{from}");
    let port = CACHE_PORT.to_string();
    let mut command = shop.skep.command();
    command.args(["policy", "explain", "--from", &from, "--to", "shop/cache", "--port", &port]);
    let output = command.args(["-o", "json"]).output()?;
    // Its exit code is the verdict.
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = || format!("skep: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).with_context(complaint)
}

/// A verdict in a few words, and the line that gives it.
struct Reason {
    allowed: bool,
    text: String,
    place: String,
}

impl Reason {
    fn of(explained: &Value) -> Result<Self> {
        let allowed = explained["allowed"] == true;
        let directions = explained["directions"].as_array().into_iter().flatten();
        let deciding = directions
            .filter(|direction| direction["restricted"] == true)
            .find(|direction| (direction["allowed"] == true) == allowed)
            .with_context(|| format!("no direction decides: {explained}"))?;
        let name = |policy: &Value| {
            let part = |key: &str| policy[key].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", part("namespace"), part("name"))
        };
        let place = |part: &Value| {
            format!(
                "{}:{}",
                part["file"].as_str().unwrap_or("?"),
                part["line"].as_u64().unwrap_or(0)
            )
        };
        let rule = &deciding["decided_by"];
        if allowed {
            let number = rule["rule"].as_u64().unwrap_or(0) + 1;
            return Ok(Self {
                allowed,
                text: format!("{} rule {number}", name(rule)),
                place: place(rule),
            });
        }
        let policy = &deciding["policies"][0];
        let mismatch = policy["rules"][0]["mismatch"].as_str().unwrap_or_default();
        // "client has app=client"
        let who = mismatch.split_once(" has ").map_or("it", |(_, labels)| labels);
        let text = format!("no rule of policy {} allows {who}", name(policy));
        Ok(Self { allowed, text, place: place(policy) })
    }
}

/// Cuts an allowed path with a policy and restores it by deleting the policy, and measures both
/// from the start of the command.
fn lockdown(shop: &Shop, client: &mut Probe, web: &Target) -> Result<()> {
    let mut after = |verb: &str, answers: bool| -> Result<Duration> {
        client.begin_await(web, answers, EFFECT)?;
        // So that there are answers (or none) before the change.
        sleep(Duration::from_millis(20));
        let began = testkit::boot_time()?;
        let mut command = shop.skep.command();
        workspace::output(command.current_dir(workspace::root()).args([verb, "-f", LOCKDOWN]))?;
        let since = client.end_await()?;
        since.checked_sub(began).context("it was so already")
    };
    let denied = after("apply", false)?.as_millis();
    let allowed = after("delete", true)?.as_millis();
    println!(
        "  apply {LOCKDOWN}: client ► web  denied after {denied} ms; deleted: allowed after {allowed} ms"
    );
    Ok(())
}

/// The latest flow of each kind, as `skep observe` tells it.
fn flows(shop: &Shop) -> Result<()> {
    programs::curl(&shop.client, shop.service)?;
    sleep(Duration::from_millis(50));
    println!("\n  skep observe");
    let cache = shop.cache.to_string();
    let asked: [&[&str]; 3] = [
        &["--from-workload", "shop/client", "--process", "curl", "--last", "3"],
        &["--from-workload", "shop/client", "--to-ip", &cache, "--last", "1"],
        &["--from-workload", "shop/web-1", "--to-ip", &cache, "--kind", "start", "--last", "1"],
    ];
    for filters in asked {
        let text = shop.skep.run(["observe"].iter().chain(filters))?;
        text.lines().for_each(|line| println!("  {}", line.trim_end()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balance_in_a_line() {
        let fetched = Fetched {
            bodies: [("web-1".to_owned(), 503), ("web-2".to_owned(), 497)].into(),
            microseconds: (1..=1000).collect(),
            ..Fetched::default()
        };
        assert_eq!(
            balance(&fetched).unwrap(),
            "1,000 requests to web      web-1 503   web-2 497     p50 501 µs   p99 991 µs"
        );
    }
}
