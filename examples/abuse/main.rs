//! Attacks and hardships for an HTTP/1.1 and WebSocket server, and a score card of how it took them.
//!
//! Run it: `cargo run --release --example abuse -- 127.0.0.1:8080 --pid $(pidof my-server)`. `--help` lists what can be
//! set, `--list` what it does. It attacks servers on this machine only, unless forced, and with bounds in count, bytes
//! and time; docs/abuse.md has the rules and some cards.

mod attacks;
mod client;
mod options;
mod target;
mod watch;
mod websocket;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use attacks::{Attack, Outcome, Pace, Verdict};
use client::PATIENCE;
use options::{Command, Options, USAGE};
use target::Target;
use watch::{Meanwhile, Watch};

/// How long the polite client is alone with the server, to know what calm is.
const CALM: Duration = Duration::from_secs(2);

/// How long it is watched at least around an attack: one request in a hundred wants some.
const WATCHED_MIN: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let options = match Command::parse(std::env::args().skip(1)) {
        Ok(Command::Attack(options)) => options,
        Ok(Command::Help) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Command::List) => {
            for attack in attacks::all() {
                println!(
                    "{}: {}. Passes: {}.",
                    attack.name, attack.does, attack.passes
                );
            }
            return ExitCode::SUCCESS;
        }
        Err(error) => return wrong_usage(&error),
    };
    let attacks = match chosen(&options) {
        Ok(attacks) => attacks,
        Err(error) => return wrong_usage(&error),
    };
    match Target::find(*options) {
        Ok(target) => attack_all(&Arc::new(target), attacks),
        Err(error) => {
            eprintln!("abuse: {error}");
            ExitCode::from(2)
        }
    }
}

fn wrong_usage(error: &str) -> ExitCode {
    eprintln!("abuse: {error}\n{USAGE}");
    ExitCode::from(2)
}

fn chosen(options: &Options) -> Result<Vec<&'static Attack>, String> {
    let all = attacks::all();
    let unknown =
        (options.only.iter()).find(|name| !all.iter().any(|attack| attack.name == **name));
    if let Some(name) = unknown {
        return Err(format!("there is no attack {name}; --list lists them"));
    }
    if let Some(pid) = options.pid
        && watch::resident_bytes(pid) == 0
    {
        return Err(format!(
            "--pid: there is no process {pid} whose memory can be seen"
        ));
    }
    let is_chosen = |attack: &&Attack| {
        options.only.is_empty() || options.only.iter().any(|name| name == attack.name)
    };
    Ok(all.into_iter().filter(is_chosen).collect())
}

fn attack_all(target: &Arc<Target>, attacks: Vec<&'static Attack>) -> ExitCode {
    let began = Instant::now();
    let options = &target.options;
    let memory_before = options.pid.map(watch::resident_bytes);
    let watch = Watch::start(target);
    thread::sleep(CALM);
    let calm = watch.between(began, Instant::now());
    let judge = Judge {
        p99_max: (2 * calm.p99).max(options.floor),
        memory_bytes_max: options.memory_bytes_max,
    };
    print_target(target, &calm, &judge);

    let mut card = Card::default();
    let (waiting, alone): (Vec<_>, Vec<_>) =
        (attacks.into_iter()).partition(|attack| matches!(attack.pace, Pace::Waiting(_)));
    if !waiting.is_empty() {
        let from = Instant::now();
        side_by_side(target, &waiting, &mut card);
        let seen = watch.between(from, Instant::now());
        card.add("served-meanwhile", judge.judge(&seen), from.elapsed());
    }
    for attack in &alone {
        let (mut outcome, mut time) = by_itself(target, attack, &watch, &judge);
        if outcome.is_only_slow {
            // Machines are busy with other things too; what happens twice in a row is the server's.
            (outcome, time) = by_itself(target, attack, &watch, &judge);
        }
        card.add(attack.name, outcome.outcome, time);
        if target.connect().is_err() && target.connect().is_err() {
            println!("nobody listens any more: the rest is not run");
            break;
        }
    }
    watch.stop();
    after(target, memory_before, &mut card);
    card.print_totals(began.elapsed())
}

fn print_target(target: &Target, calm: &Meanwhile, judge: &Judge) {
    let none = "none".to_owned();
    let options = &target.options;
    println!(
        "{}: GET {}, {} {}, large {}, WebSocket {}, room {}",
        options.host,
        target.path,
        target.post_method,
        target.post,
        target.large.as_ref().unwrap_or(&none),
        target.ws.as_ref().unwrap_or(&none),
        target.room.as_ref().unwrap_or(&none),
    );
    println!(
        "calm: {} requests, p99 {}; allowed under attack: p99 {}",
        calm.requests,
        milliseconds(calm.p99),
        milliseconds(judge.p99_max)
    );
    println!();
    println!("{:<22} {:<14} {:>7}  seen", "attack", "verdict", "seconds");
}

/// All at once, each in a thread.
fn side_by_side(target: &Arc<Target>, attacks: &[&'static Attack], card: &mut Card) {
    thread::scope(|scope| {
        let threads: Vec<_> = (attacks.iter())
            .map(|attack| {
                let thread = scope.spawn(move || {
                    let from = Instant::now();
                    let outcome = wait_or_not(target, attack);
                    (outcome, from.elapsed())
                });
                (attack, thread)
            })
            .collect();
        for (attack, thread) in threads {
            let (outcome, time) = thread.join().expect("an attack does not panic");
            card.add(attack.name, outcome, time);
        }
    });
}

fn wait_or_not(target: &Target, attack: &Attack) -> Outcome {
    if let Pace::Waiting(deadline) = attack.pace {
        let deadline = deadline(&target.options);
        if deadline > target.options.wait_max {
            return Outcome {
                verdict: Verdict::NotWaitedFor,
                seen: format!("its deadline is {} s; --long", deadline.as_secs()),
            };
        }
    }
    (attack.run)(target)
}

struct Judged {
    outcome: Outcome,
    /// All is well but the polite client's p99.
    is_only_slow: bool,
}

fn by_itself(target: &Target, attack: &Attack, watch: &Watch, judge: &Judge) -> (Judged, Duration) {
    let from = Instant::now();
    let mut outcome = (attack.run)(target);
    let time = from.elapsed();
    if outcome.verdict == Verdict::NotApplicable {
        let is_only_slow = false;
        return (
            Judged {
                outcome,
                is_only_slow,
            },
            time,
        );
    }
    thread::sleep(WATCHED_MIN.saturating_sub(time));
    let seen = watch.between(from, Instant::now());
    let service = judge.judge(&seen);
    let was_good = outcome.verdict == Verdict::Pass;
    if service.verdict == Verdict::Fail {
        outcome.verdict = Verdict::Fail;
        outcome.seen = format!("{}; {}", outcome.seen, service.seen);
    }
    let judged = Judged {
        outcome,
        is_only_slow: was_good && judge.is_only_slow(&seen),
    };
    (judged, time)
}

/// What the polite client and the server's memory are held to during an attack.
struct Judge {
    p99_max: Duration,
    memory_bytes_max: u64,
}

impl Judge {
    fn judge(&self, seen: &Meanwhile) -> Outcome {
        let memory = seen.memory_rise.unwrap_or(0);
        let is_good =
            seen.failures.is_empty() && seen.p99 <= self.p99_max && memory <= self.memory_bytes_max;
        let failed = match seen.failures.first() {
            Some(first) => format!("{} failed ({first})", seen.failures.len()),
            None => "none failed".to_owned(),
        };
        let memory = match seen.memory_rise {
            Some(bytes) => format!(", memory +{} MiB", bytes >> 20),
            None => String::new(),
        };
        let (requests, p99) = (seen.requests, milliseconds(seen.p99));
        Outcome::new(
            is_good,
            format!("polite client: {requests} requests, {failed}, p99 {p99}{memory}"),
        )
    }

    fn is_only_slow(&self, seen: &Meanwhile) -> bool {
        let memory = seen.memory_rise.unwrap_or(0);
        seen.failures.is_empty() && memory <= self.memory_bytes_max && seen.p99 > self.p99_max
    }
}

/// The server must be as it was: it answers, its memory is back, and it has nothing to do.
fn after(target: &Target, memory_before: Option<u64>, card: &mut Card) {
    /// Five ticks of a hundred: what a timer or two may cost.
    const TICKS_MAX: u64 = 5;
    /// Connections may linger a little.
    const TRIES: usize = 10;

    let from = Instant::now();
    let answer = target.connect().ok().and_then(|mut connection| {
        connection.send(&target.get(), PATIENCE);
        connection.answer(PATIENCE)
    });
    let seen = answer.map_or("no answer".to_owned(), |answer| answer.status.to_string());
    let is_good = answer.is_some_and(|answer| answer.status == 200);
    card.add("answers-after", Outcome::new(is_good, seen), from.elapsed());

    let (Some(pid), Some(before)) = (target.options.pid, memory_before) else {
        return;
    };
    if watch::resident_bytes(pid) == 0 {
        // It would pass for idle.
        println!("process {pid} has ended");
        return;
    }
    let from = Instant::now();
    let mut ticks = u64::MAX;
    for _ in 0..TRIES {
        let at_first = watch::cpu_ticks(pid);
        thread::sleep(Duration::from_secs(1));
        ticks = watch::cpu_ticks(pid).saturating_sub(at_first);
        if ticks <= TICKS_MAX {
            break;
        }
    }
    let seen = format!("{ticks} % of a core");
    card.add(
        "idle-after",
        Outcome::new(ticks <= TICKS_MAX, seen),
        from.elapsed(),
    );

    let now = watch::resident_bytes(pid);
    let is_good = now > 0 && now.saturating_sub(before) <= target.options.memory_bytes_max;
    let seen = format!("{:.1} MiB before, {:.1} after", mib(before), mib(now));
    card.add("memory-after", Outcome::new(is_good, seen), Duration::ZERO);
}

#[derive(Default)]
struct Card {
    passed: usize,
    failed: usize,
    not_applicable: usize,
    not_waited_for: usize,
}

impl Card {
    fn add(&mut self, name: &str, outcome: Outcome, time: Duration) {
        let (count, verdict) = match outcome.verdict {
            Verdict::Pass => (&mut self.passed, "pass"),
            Verdict::Fail => (&mut self.failed, "FAIL"),
            Verdict::NotApplicable => (&mut self.not_applicable, "not applicable"),
            Verdict::NotWaitedFor => (&mut self.not_waited_for, "not waited for"),
        };
        *count += 1;
        println!(
            "{name:<22} {verdict:<14} {:>7.1}  {}",
            time.as_secs_f64(),
            outcome.seen
        );
    }

    fn print_totals(&self, time: Duration) -> ExitCode {
        println!(
            "\n{} passed, {} failed, {} not applicable, {} not waited for, in {:.0} s",
            self.passed,
            self.failed,
            self.not_applicable,
            self.not_waited_for,
            time.as_secs_f64()
        );
        match self.failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
