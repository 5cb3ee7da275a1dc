//! What a recording says: what was measured, in words, and whether the servers did what they should.
//!
//! A judgement compares stamps of clients alone: they are taken by one process, before what others
//! may see and after what was waited for. So it does not depend on how busy the machine is.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::Step;

use crate::recording::{ClientDid, Lanes, Recording};

/// What a recording says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// For each server, what was found there, in a few words.
    pub findings: Vec<String>,
    /// What was measured, in one or two sentences.
    pub summary: String,
    /// Where a server did not do what it should.
    pub failures: Vec<String>,
}

/// `A` and `B`, as every scenario of two names them.
const A: usize = 0;
const B: usize = 1;

impl Report {
    /// A report whose failures are those that the clients met: a client that has no answer is one.
    fn of(recording: &Recording) -> Self {
        let mut report = Self::default();
        for lanes in &recording.steps {
            for failure in &lanes.failures {
                report.fail(lanes, failure);
            }
        }
        report
    }

    /// Of a recording that was stopped meanwhile nothing is said but that, and what the clients met.
    pub fn of_one_stopped(recording: &Recording) -> Self {
        let summary = format!(
            "Everything was stopped meanwhile, for {}: play it again.",
            in_ms(recording.longest_frame)
        );
        Self { findings: Vec::new(), summary, ..Self::of(recording) }
    }

    fn fail(&mut self, lanes: &Lanes, what: &str) {
        self.failures.push(format!("{}: {what}", lanes.step));
    }

    /// Fails unless `holds`.
    fn expect(&mut self, lanes: &Lanes, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(lanes, &what());
        }
    }
}

pub fn one_client(recording: &Recording) -> Report {
    let mut report = Report::of(recording);
    for lanes in &recording.steps {
        let waits = lanes.waits(A);
        let longest = waits.iter().max().copied().unwrap_or_default();
        report.findings.push(format!(
            "{}, the longest wait {}",
            count(waits.len(), "answer"),
            in_ms(longest)
        ));
    }
    let end = |lanes: &Lanes| lanes.all(A, ClientDid::Answered).last();
    let unanswered = places(recording.steps.iter().filter(|lanes| end(lanes).is_none()));
    if !unanswered.is_empty() {
        report.summary = format!("On {unanswered} A had no answer.");
        return report;
    }
    let ends: Vec<Duration> = recording.steps.iter().filter_map(end).collect();
    let spread = ends.iter().max().zip(ends.iter().min()).map(|(most, least)| *most - *least);
    // Of one step alone nothing is said of several.
    let same = ends.len() > 1 && spread.is_some_and(|spread| spread < Duration::from_millis(20));
    let ends: Vec<String> = ends.iter().map(|end| end.as_millis().to_string()).collect();
    report.summary = format!(
        "On {} A had its last answer after {} ms{}",
        places(recording.steps.iter()),
        listed(&ends),
        if same { ": alone, a client sees no difference." } else { "." }
    );
    report
}

pub fn two_clients(recording: &Recording) -> Report {
    b_beside_a(recording, "until A left", "A was still there")
}

pub fn vanished_client(recording: &Recording) -> Report {
    let mut report = b_beside_a(recording, "until A's reset", "A was still there");
    for lanes in &recording.steps {
        // Steps promise one line for a client whose socket reports an error; `bare` is the
        // idea alone.
        let lines = lanes.errors.iter().filter(|line| line.starts_with("A: ")).count();
        report.expect(lanes, lines == 1 || lanes.step == Step::Bare, || {
            format!("one line about A's reset was expected, but it said {:?}", lanes.errors)
        });
    }
    let asks_again = |lanes: &Lanes| {
        let again = lanes.all(B, ClientDid::Asks).nth(1);
        lanes.waits(B).len() == 2 && again >= lanes.when(A, ClientDid::Resets)
    };
    if recording.steps.iter().all(asks_again) {
        report.summary.push_str(" Afterwards B asked again and was answered.");
    }
    report
}

pub fn stalled_reader(recording: &Recording) -> Report {
    let mut report = b_beside_a(recording, "until A left", "A was stuck");
    // Said where the kernel said it, when A was stuck.
    let in_send = recording.steps.iter().filter(|lanes| lanes.stuck_in == Some("sendto"));
    let in_send = places(in_send);
    if !in_send.is_empty() {
        let stood = format!(" The server stood in send() to A on {in_send}.");
        report.summary.push_str(&stood);
    }
    report
}

/// The scenarios in which `A` keeps a server that waits for one client at a time.
fn b_beside_a(recording: &Recording, until: &str, meanwhile: &str) -> Report {
    let mut report = Report::of(recording);
    for lanes in &recording.steps {
        let wait = wait_of_b(lanes);
        let finding = match wait {
            Wait::None => "B was not answered".to_owned(),
            Wait::UntilGone(time) => format!("B waited {}, {until}", in_ms(time)),
            Wait::Beyond(time, more) => {
                format!("B waited {}, {} more than {until}", in_ms(time), in_ms(more))
            }
            Wait::Meanwhile(time) => format!("B waited {}, {meanwhile}", in_ms(time)),
            Wait::TooLate(time) => format!("B waited {}, but came too late to tell", in_ms(time)),
            Wait::Unknown(time) => format!("B waited {}; when A left is not known", in_ms(time)),
        };
        let expected =
            lanes.step.blocks() || lanes.step == Step::Bare && meanwhile == "A was stuck";
        let holds = match wait {
            // Nothing is concluded, of the server neither.
            Wait::TooLate(_) => true,
            // How long after A a busy machine answers is no fault of the server that waited.
            Wait::UntilGone(_) | Wait::Beyond(..) => expected,
            Wait::Meanwhile(_) => !expected,
            Wait::None | Wait::Unknown(_) => false,
        };
        report.expect(lanes, holds, || {
            if expected {
                format!("B was expected to wait {until}, but: {finding}")
            } else {
                format!(
                    "B was expected to wait no longer than an answer takes while {meanwhile}, \
                     but: {finding}"
                )
            }
        });
        report.findings.push(finding);
    }
    report.summary = sentence(recording, until, meanwhile);
    report
}

/// What is still soon: a busy machine lets an answer wait that long, and no scenario plans a wait
/// as short.
const SOON: Duration = Duration::from_millis(100);

/// What the stamps say of `B`'s first wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// It had no answer.
    None,
    /// It asked well before `A` was gone and was answered soon after.
    UntilGone(Duration),
    /// It asked well before `A` was gone and was answered so much after that.
    Beyond(Duration, Duration),
    /// It was answered before `A` was gone.
    Meanwhile(Duration),
    /// When it asked, `A` was gone or about to go.
    TooLate(Duration),
    /// `A` did not say when it went.
    Unknown(Duration),
}

fn wait_of_b(lanes: &Lanes) -> Wait {
    let (Some(asked), Some(answered)) =
        (lanes.when(B, ClientDid::Asks), lanes.when(B, ClientDid::Answered))
    else {
        return Wait::None;
    };
    let wait = answered - asked;
    match lanes.when(A, ClientDid::Leaves).or(lanes.when(A, ClientDid::Resets)) {
        None => Wait::Unknown(wait),
        Some(gone) if answered < gone => Wait::Meanwhile(wait),
        Some(gone) if asked + SOON > gone => Wait::TooLate(wait),
        Some(gone) if answered < gone + SOON => Wait::UntilGone(wait),
        Some(gone) => Wait::Beyond(wait, answered - gone),
    }
}

/// Which servers kept `B` waiting for `A`, which did not, and what else there was.
fn sentence(recording: &Recording, until: &str, meanwhile: &str) -> String {
    let words_of = |wait| match wait {
        Wait::UntilGone(_) => format!("B waited {until}"),
        Wait::Meanwhile(time) if time < SOON => format!("B was answered while {meanwhile}"),
        Wait::Meanwhile(_) => format!("B was answered while {meanwhile}, but not at once"),
        Wait::Beyond(..) => "B waited on after A was gone".to_owned(),
        Wait::TooLate(_) => "B came too late to tell".to_owned(),
        Wait::Unknown(_) => "B was answered, but when A left is not known".to_owned(),
        Wait::None => "B had no answer".to_owned(),
    };
    let mut parts: Vec<(String, Vec<&Lanes>)> = Vec::new();
    for lanes in &recording.steps {
        let words = words_of(wait_of_b(lanes));
        match parts.iter_mut().find(|(said, _)| *said == words) {
            Some((_, alike)) => alike.push(lanes),
            None => parts.push((words, vec![lanes])),
        }
    }
    let parts: Vec<String> =
        parts.into_iter().map(|(words, alike)| format!("{} {words}", places(alike))).collect();
    format!("On {}.", parts.join("; on "))
}

pub fn crowd(recording: &Recording) -> Report {
    let mut report = Report::of(recording);
    let [one_by_one, together] =
        [", where each thinks on everyone's time", ", where all think at once"];
    let mut found: Vec<(&Lanes, Option<&str>, f64)> = Vec::new();
    for lanes in &recording.steps {
        let clients = 0..lanes.clients.len();
        let first = |client| lanes.when(client, ClientDid::Answered);
        let last = |client| lanes.all(client, ClientDid::Answered).last();
        let waits_for_last = |client: usize| matches!((last(client), first(client + 1)), (Some(last), Some(first)) if first >= last);
        let in_turn = clients.clone().skip(1).all(|client| waits_for_last(client - 1));
        let done = clients.clone().filter_map(last).max().unwrap_or_default();
        report.findings.push(format!("done in {} ms", done.as_millis()));
        // One by one, the total is at least the sum of what each took from its first answer on.
        let took = |client| Some(last(client)? - first(client)?);
        let sum: Duration = clients.clone().filter_map(took).sum();
        let complete = clients.clone().all(|client| lanes.waits(client).len() == 2);
        let thinking = |client: usize| {
            Some((
                lanes.when(client, ClientDid::Thinks)?,
                lanes.all(client, ClientDid::Asks).last()?,
            ))
        };
        let last_thinks = clients.clone().filter_map(thinking).map(|(since, _)| since).max();
        let at_once = |(_, until)| Some(until) > last_thinks;
        let why = match () {
            () if !complete => None,
            () if in_turn => Some(one_by_one),
            () if clients.clone().filter_map(thinking).all(at_once) => Some(together),
            () => Some(""),
        };
        found.push((lanes, why, times_one(lanes, done)));
        if lanes.step.blocks() {
            report.expect(lanes, in_turn, || {
                "each client was expected to be answered after the one before had left, but some \
                 were answered while it was still there"
                    .to_owned()
            });
        } else {
            report.expect(lanes, done < sum.mul_f64(0.75), || {
                format!(
                    "the clients were expected to be answered together, but all were done only \
                     after {}, and one by one would have taken {}",
                    in_ms(done),
                    in_ms(sum)
                )
            });
        }
    }
    // Steps of one kind share a number where one number is true of each.
    let mut parts = Vec::new();
    for why in [one_by_one, together, ""] {
        let those = found.iter().filter(|(_, is, _)| *is == Some(why));
        let mut those: Vec<(&Lanes, f64)> = those.map(|it| (it.0, it.2)).collect();
        while let Some((_, times)) = those.first().copied() {
            let (alike, others) = those.iter().partition(|it| (it.1 - times).abs() <= times * 0.1);
            let alike: Vec<(&Lanes, f64)> = alike;
            let steps = places(alike.into_iter().map(|it| it.0));
            parts.push(format!("{} on {steps}{why}", as_long_as_one(times)));
            those = others;
        }
    }
    let missing = places(found.iter().filter(|(_, why, _)| why.is_none()).map(|it| it.0));
    let took = format!("The crowd took {}.", parts.join(", and "));
    let some = format!("On {missing} some had no answer.");
    let said = [(!parts.is_empty(), took), (!missing.is_empty(), some)];
    let said = said.into_iter().filter_map(|(holds, sentence)| holds.then_some(sentence));
    report.summary = said.collect::<Vec<_>>().join(" ");
    report
}

/// How many times as long as one client alone takes, all took. One alone asks twice, thinks as long
/// as whoever thought least, and has each answer as soon as whoever waited least: that is the
/// server's own time.
fn times_one(lanes: &Lanes, done: Duration) -> f64 {
    let asked = lanes.when(A, ClientDid::Asks).unwrap_or_default();
    let least = |what| {
        let pairs = lanes.clients.iter().flat_map(|client| client.windows(2));
        let took = pairs.filter(|pair| pair[0].1 == what).map(|pair| pair[1].0 - pair[0].0);
        took.min().unwrap_or_default()
    };
    let alone = least(ClientDid::Thinks) + 2 * least(ClientDid::Asks);
    done.saturating_sub(asked).as_secs_f64() / alone.as_secs_f64().max(1e-9)
}

fn as_long_as_one(times: f64) -> String {
    match times {
        times if times < 1.15 => "as long as one".to_owned(),
        times if times < 3.0 => format!("{times:.1} times as long as one"),
        times => format!("{times:.0} times as long as one"),
    }
}

/// What was sent in one write, and how many answers came.
pub fn answers_per_write(lanes: &Lanes) -> Vec<String> {
    writes(lanes)
        .iter()
        .map(|(messages, bytes, answers)| {
            format!(
                "{}, {bytes} bytes → {}",
                count(*messages, "message"),
                count(*answers, "answer")
            )
        })
        .collect()
}

fn writes(lanes: &Lanes) -> Vec<(usize, usize, usize)> {
    let mut writes = Vec::new();
    for (_, did) in lanes.clients.first().into_iter().flatten() {
        match (did, writes.last_mut()) {
            (ClientDid::Sends { messages, bytes }, _) => writes.push((*messages, *bytes, 0)),
            (ClientDid::Answered, Some((_, _, answers))) => *answers += 1,
            _ => {}
        }
    }
    writes
}

pub fn stream(recording: &Recording) -> Report {
    let mut report = Report::of(recording);
    let as_it_comes = |lanes: &Lanes| matches!(writes(lanes)[..], [(3, _, 1), (1, _, 3..)]);
    for lanes in &recording.steps {
        report.expect(lanes, as_it_comes(lanes), || {
            format!(
                "1 answer to 3 messages at once was expected, and at least 3 to 10000 bytes, but: {}",
                answers_per_write(lanes).join("; ")
            )
        });
        report.findings.push(String::new());
    }
    let alike = recording.steps.chunk_by(|one, other| writes(one) == writes(other));
    let alike: Vec<&[Lanes]> = alike.collect();
    report.summary = match alike.as_slice() {
        [all] if as_it_comes(&all[0]) => format!(
            "3 messages had 1 answer and 1 long one had {}, on {}: TCP has bytes, no messages. Each \
             recv() takes what has come, at most 4096 bytes, and is answered once.",
            writes(&all[0])[1].2,
            places(*all),
        ),
        _ if recording.steps.iter().all(as_it_comes) => {
            "The steps were sent the same bytes and differ in their answers: TCP has bytes, no \
             messages, and how many each recv() takes depends on the moment."
                .to_owned()
        }
        some => {
            let said = |lanes: &&[Lanes]| {
                format!("On {}: {}.", places(*lanes), answers_per_write(&lanes[0]).join("; "))
            };
            some.iter().map(said).collect::<Vec<_>>().join(" ")
        }
    };
    report
}

/// For each number of idle clients: how many times one asked among them, and the median of what an
/// answer took: of the server's processor time in each turn, where that was measured, else of the
/// waits.
pub fn among_idle(lanes: &Lanes) -> Vec<(usize, usize, Duration)> {
    let mut among: BTreeMap<usize, (Vec<Duration>, Vec<Duration>)> = BTreeMap::new();
    let mut idle = 0;
    let mut asked = None;
    for (at, did) in lanes.clients.first().into_iter().flatten() {
        if let ClientDid::Among(now) = did {
            idle = *now;
            among.entry(idle).or_default();
        }
        let Some((waits, measured)) = among.get_mut(&idle) else { continue };
        match (did, asked) {
            (ClientDid::Asks, _) => asked = Some(*at),
            (ClientDid::Answered, Some(asked)) => waits.push(*at - asked),
            (ClientDid::Measured(time), _) => measured.push(*time),
            _ => {}
        }
    }
    let row = |(idle, (waits, measured)): (usize, (Vec<Duration>, Vec<Duration>))| {
        let asked = waits.len();
        let mut times = if has_processor_time(lanes) { measured } else { waits };
        times.sort_unstable();
        // Nothing to draw before the first turn is over.
        let asked = if times.is_empty() { 0 } else { asked };
        (idle, asked, times.get(times.len() / 2).copied().unwrap_or_default())
    };
    among.into_iter().map(row).collect()
}

fn has_processor_time(lanes: &Lanes) -> bool {
    let mut did = lanes.clients.iter().flatten();
    did.any(|(_, did)| matches!(did, ClientDid::Measured(_)))
}

/// What the bars are.
pub fn measured(recording: &Recording) -> &'static str {
    if recording.steps.iter().any(has_processor_time) {
        "processor time for an answer: the median of several turns"
    } else {
        "waits for its answer: the median"
    }
}

/// The longest of all bars: those of several servers have one scale.
pub fn longest_bar(recording: &Recording) -> Duration {
    let bars = recording.steps.iter().flat_map(among_idle);
    bars.map(|(.., time)| time).max().unwrap_or_default()
}

pub fn idle_crowd(recording: &Recording) -> Report {
    /// So many times as much is no more: a busy machine makes as much of a difference.
    const FLAT: f64 = 1.5;
    let mut report = Report::of(recording);
    let mut grown = Vec::new();
    for lanes in &recording.steps {
        let whose = if has_processor_time(lanes) { "the server's " } else { "" };
        report.findings.push(format!("{whose}{} for an answer, the median", took(lanes)));
        if let [(0, some, alone), .., (idle, more, most)] = among_idle(lanes).as_slice()
            && *some > 0
            && *more > 0
        {
            grown.push((lanes, *idle, most.as_secs_f64() / alone.as_secs_f64().max(1e-9)));
        }
    }
    let Some((first, idle, _)) = grown.first().copied() else {
        "Nothing was measured.".clone_into(&mut report.summary);
        return report;
    };
    // Only what was measured alike stands in one sentence.
    grown.retain(|(lanes, among, _)| *among == idle && took(lanes) == took(first));
    let on = |(index, (lanes, _, times)): (usize, &(&Lanes, usize, f64))| {
        let place = places([*lanes]);
        if index > 0 {
            return format!("on {place} {times:.1} times");
        }
        let took = took(lanes);
        format!(
            "On {place} an answer among {idle} idle clients took {times:.1} times the {took} of \
             one among none"
        )
    };
    let each: Vec<String> = grown.iter().enumerate().map(on).collect();
    let mut what = grown.iter().map(|(lanes, _, times)| (lanes.step, *times));
    let select_grows = what.clone().any(|(step, times)| step == Step::Select && times > 2.0);
    let after = what.clone().filter(|(step, _)| Step::AFTER.contains(step)).count();
    let after_is_flat =
        after > 0 && what.all(|(step, times)| !Step::AFTER.contains(&step) || times < FLAT);
    let why = match (select_grows, after_is_flat) {
        (true, true) => {
            ": select() looks at every socket each time, epoll and kqueue tell of those alone \
             that are ready."
        }
        (true, false) => ": select() looks at every socket each time.",
        (false, _) => ".",
    };
    report.summary = listed(&each) + why;
    report
}

/// What was measured of an answer.
fn took(lanes: &Lanes) -> &'static str {
    if has_processor_time(lanes) { "processor time" } else { "time" }
}

/// A time in words: whole milliseconds, or the digits that matter below ten.
fn in_ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match ms {
        ms if ms >= 9.95 => format!("{ms:.0} ms"),
        ms if ms >= 0.095 => format!("{ms:.1} ms"),
        ms => format!("{ms:.2} ms"),
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// `steps 1 and 2`, `step 2 and bare`.
fn places<'a>(lanes: impl IntoIterator<Item = &'a Lanes>) -> String {
    let steps: Vec<Step> = lanes.into_iter().map(|lanes| lanes.step).collect();
    let number = |step: &Step| match step {
        Step::Blocking => Some("1".to_owned()),
        Step::Functions => Some("2".to_owned()),
        Step::Select => Some("3".to_owned()),
        Step::Bare | Step::Mio | Step::Tokio => None,
    };
    let numbers: Vec<String> = steps.iter().filter_map(number).collect();
    let others = steps.iter().filter(|step| number(step).is_none());
    let mut names = numbers.clone();
    names.extend(others.map(|step| step.name().to_owned()));
    match numbers.len() {
        0 => listed(&names),
        1 => format!("step {}", listed(&names)),
        _ => format!("steps {}", listed(&names)),
    }
}

/// `100, 300 and 1000`.
fn listed(items: &[String]) -> String {
    match items {
        [items @ .., last] if !items.is_empty() => format!("{} and {last}", items.join(", ")),
        _ => items.concat(),
    }
}
