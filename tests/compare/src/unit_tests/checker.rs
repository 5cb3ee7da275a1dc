//! Reads the sentences by their words and judges them by the stamps alone. It shares no code with
//! what makes them, and decides anew what each means.

use std::time::Duration;

use super::{A, B};
use crate::recording::{ClientDid, Lanes, Recording};
use crate::report::Report;

/// What people call soon, in milliseconds; nobody waits for less by plan.
const SOON: f64 = 100.0;

/// The sentences that the recording contradicts, and those that nobody knows.
pub fn contradicted(recording: &Recording, report: &Report) -> Vec<String> {
    let longest = ms(recording.longest_frame);
    let stopped =
        scan("Everything was stopped meanwhile, for {} ms: play it again.", &report.summary);
    let summary_holds = match stopped {
        Some(time) => are(&time, &[longest]) && longest > 5.0 * SOON && report.findings.is_empty(),
        None => {
            longest <= 5.0 * SOON
                && report.findings.len() == recording.steps.len()
                && holds(recording, report.summary.trim_end_matches('.'))
        }
    };
    let findings = recording.steps.iter().zip(&report.findings);
    let wrong = findings.filter(|(lanes, it)| !finding_holds(&recording.scenario, lanes, it));
    let wrong = wrong.map(|(lanes, it)| format!("{}: {it}", lanes.step));
    wrong.chain((!summary_holds).then(|| report.summary.clone())).collect()
}

/// What stands in `text` where `pattern` has `{}`.
fn scan<'a>(pattern: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut pieces = pattern.split("{}");
    let mut rest = text.strip_prefix(pieces.next()?)?;
    let mut found = Vec::new();
    for piece in pieces {
        let (one, after) = if piece.is_empty() { (rest, "") } else { rest.split_once(piece)? };
        found.push(one);
        rest = after;
    }
    rest.is_empty().then_some(found)
}

/// Whether what is said are those numbers, rounded.
fn are(said: &[&str], numbers: &[f64]) -> bool {
    said.iter().zip(numbers).all(|(said, number)| {
        let digits = said.split_once('.').map_or(0, |(_, digits)| digits.len());
        let half = 0.500_001 / 10_f64.powf(digits as f64);
        said.parse().is_ok_and(|said: f64| (said - number).abs() <= half)
    })
}

/// The servers of `steps 1, 2 and bare`.
fn places<'a>(recording: &'a Recording, text: &str) -> Option<Vec<&'a Lanes>> {
    let words =
        text.split([' ', ',']).filter(|it| !["", "On", "on", "and", "step", "steps"].contains(it));
    let named = |word: &str| {
        let name = match word {
            "1" => "step1-blocking",
            "2" => "step2-functions",
            "3" => "step3-select",
            other => other,
        };
        recording.steps.iter().find(|lanes| lanes.step.name() == name)
    };
    words.map(named).collect()
}

/// Whether each claim holds at its places, and each server is named once.
fn each_holds(
    recording: &Recording,
    parts: &[(&str, &str)],
    holds: impl Fn(&Lanes, &str) -> bool,
) -> bool {
    let mut named = Vec::new();
    let all_hold = parts.iter().all(|(text, claim)| {
        let places = places(recording, text).unwrap_or_default();
        named.extend(places.iter().map(|lanes| lanes.step));
        !places.is_empty() && places.iter().all(|lanes| holds(lanes, claim))
    });
    let each = recording.steps.iter().all(|lanes| named.contains(&lanes.step));
    all_hold && each && named.len() == recording.steps.len()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// When a client did that.
fn stamps(lanes: &Lanes, client: usize, what: impl Fn(ClientDid) -> bool) -> Vec<f64> {
    let did = lanes.clients[client].iter();
    did.filter(|(_, did)| what(*did)).map(|(at, _)| ms(*at)).collect()
}

fn asked(lanes: &Lanes, client: usize) -> Vec<f64> {
    stamps(lanes, client, |did| did == ClientDid::Asks)
}

fn answered(lanes: &Lanes, client: usize) -> Vec<f64> {
    stamps(lanes, client, |did| did == ClientDid::Answered)
}

fn is_measured(lanes: &Lanes) -> bool {
    !stamps(lanes, A, |did| matches!(did, ClientDid::Measured(_))).is_empty()
}

fn holds(recording: &Recording, text: &str) -> bool {
    let holds = match recording.scenario.as_str() {
        "one-client" => one_client(recording, text),
        "crowd" => crowd(recording, text),
        "stream" => stream(recording, text),
        "idle-crowd" => idle_crowd(recording, text),
        _ => two(recording, text),
    };
    holds.unwrap_or(false)
}

fn finding_holds(scenario: &str, lanes: &Lanes, finding: &str) -> bool {
    let last = (0..lanes.clients.len()).filter_map(|it| answered(lanes, it).last().copied());
    let longest =
        asked(lanes, A).into_iter().zip(answered(lanes, A)).map(|(asked, has)| has - asked);
    match scenario {
        "one-client" => scan("{} answers, the longest wait {} ms", finding).is_some_and(|said| {
            are(&said, &[answered(lanes, A).len() as f64, longest.fold(0.0, f64::max)])
        }),
        "crowd" => scan("done in {} ms", finding)
            .is_some_and(|said| are(&said, &[last.fold(0.0, f64::max).floor()])),
        "stream" => finding.is_empty(),
        "idle-crowd" if is_measured(lanes) => {
            finding == "the server's processor time for an answer, the median"
        }
        "idle-crowd" => finding == "time for an answer, the median",
        _ => is_so_of_b(lanes, finding),
    }
}

/// `B`'s first wait, in milliseconds. What is not known compares with nothing.
struct Wait {
    time: f64,
    /// From its question, and until its answer, to when `A` was gone.
    before: f64,
    more: f64,
    by_reset: bool,
    is_a_stuck: bool,
}

impl Wait {
    fn of(lanes: &Lanes) -> Self {
        let first = |stamps: Vec<f64>| stamps.first().copied().unwrap_or(f64::NAN);
        let (asked, answered) = (first(asked(lanes, B)), first(answered(lanes, B)));
        let resets = stamps(lanes, A, |did| did == ClientDid::Resets);
        let by_reset = !resets.is_empty();
        let leaves = stamps(lanes, A, |did| did == ClientDid::Leaves);
        let gone = first(if by_reset { resets } else { leaves });
        let stuck = first(stamps(lanes, A, |did| did == ClientDid::Stuck));
        let (time, before, more) = (answered - asked, gone - asked, answered - gone);
        Self { time, before, more, by_reset, is_a_stuck: stuck <= asked }
    }

    fn is_until_gone(&self) -> bool {
        self.before >= SOON && (0.0..SOON).contains(&self.more)
    }

    fn is_beyond(&self) -> bool {
        self.before >= SOON && self.more >= SOON
    }

    fn is_at_once(&self) -> bool {
        self.more < 0.0 && self.time < SOON
    }

    fn is_late(&self) -> bool {
        self.more < 0.0 && self.time >= SOON
    }
}

type IsSo = fn(&Wait) -> bool;

/// What may be said of it, and when; in the places of numbers, the time and what was more.
const OF_B: [(&str, IsSo); 19] = [
    ("B had no answer", |it| it.time.is_nan()),
    ("B was not answered", |it| it.time.is_nan()),
    ("B waited until A left", |it| it.is_until_gone() && !it.by_reset),
    ("B waited {} ms, until A left", |it| it.is_until_gone() && !it.by_reset),
    ("B waited until A's reset", |it| it.is_until_gone() && it.by_reset),
    ("B waited {} ms, until A's reset", |it| it.is_until_gone() && it.by_reset),
    ("B was answered while A was still there", Wait::is_at_once),
    ("B was answered while A was stuck", |it| it.is_at_once() && it.is_a_stuck),
    ("B waited {} ms, A was stuck", |it| it.more < 0.0 && it.is_a_stuck),
    ("B waited {} ms, A was still there", |it| it.more < 0.0),
    ("B was answered while A was still there, but not at once", Wait::is_late),
    ("B was answered while A was stuck, but not at once", |it| it.is_late() && it.is_a_stuck),
    ("B waited on after A was gone", Wait::is_beyond),
    ("B waited {} ms, {} ms more than until A left", |it| it.is_beyond() && !it.by_reset),
    ("B waited {} ms, {} ms more than until A's reset", |it| it.is_beyond() && it.by_reset),
    ("B came too late to tell", |it| it.before < SOON && it.more >= 0.0),
    ("B waited {} ms, but came too late to tell", |it| it.before < SOON && it.more >= 0.0),
    ("B was answered, but when A left is not known", |it| it.before.is_nan() && it.time >= 0.0),
    ("B waited {} ms; when A left is not known", |it| it.before.is_nan() && it.time >= 0.0),
];

fn is_so_of_b(lanes: &Lanes, words: &str) -> bool {
    let wait = Wait::of(lanes);
    let mut all = OF_B.iter();
    all.any(|(pattern, is_so)| {
        let said = scan(pattern, words);
        said.is_some_and(|said| are(&said, &[wait.time, wait.more]) && is_so(&wait))
    })
}

fn two(recording: &Recording, text: &str) -> Option<bool> {
    let mut sentences = text.split(". ");
    let part = |part| {
        let at = |(claim, _): &(&'static str, _)| Some((str::strip_suffix(part, claim)?, *claim));
        // The longest claim leaves the shortest place.
        OF_B.iter().filter_map(at).min_by_key(|(place, _)| place.len())
    };
    let parts: Option<Vec<_>> = sentences.next()?.split("; ").map(part).collect();
    let more_holds = sentences.all(|sentence| {
        if let Some(said) = scan("The server stood in send() to A on {}", sentence) {
            let places = places(recording, said[0]);
            return places.is_some_and(|it| it.iter().all(|it| it.stuck_in == Some("sendto")));
        }
        sentence == "Afterwards B asked again and was answered"
            && recording.steps.iter().all(|lanes| {
                let reset = stamps(lanes, A, |did| did == ClientDid::Resets);
                asked(lanes, B).get(1) >= reset.first() && answered(lanes, B).len() > 1
            })
    });
    Some(each_holds(recording, &parts?, is_so_of_b) && more_holds)
}

fn one_client(recording: &Recording, text: &str) -> Option<bool> {
    let last = |lanes: &Lanes| answered(lanes, A).last().copied();
    if let Some(said) = scan("On {} A had no answer", text) {
        return Some(places(recording, said[0])?.iter().all(|lanes| last(lanes).is_none()));
    }
    let (text, same) = text.split_once(": ").unwrap_or((text, ""));
    let said = scan("On {} A had its last answer after {} ms", text)?;
    let ends: Option<Vec<f64>> = places(recording, said[0])?.into_iter().map(last).collect();
    let ends = ends?;
    let times: Vec<&str> = said[1].split(", ").flat_map(|it| it.split(" and ")).collect();
    let whole = ends.iter().map(|end| end.floor()).collect::<Vec<_>>();
    let apart = ends.iter().fold(0.0, |most: f64, end| most.max((end - ends[0]).abs()));
    let is_same = match same {
        "" => true,
        // What nobody sees.
        "alone, a client sees no difference" => ends.len() > 1 && apart <= SOON / 5.0,
        _ => false,
    };
    let each = ends.len() == recording.steps.len() && times.len() == ends.len();
    Some(each && are(&times, &whole) && is_same)
}

fn crowd(recording: &Recording, text: &str) -> Option<bool> {
    let (took, missing) = match scan("{}. On {} some had no answer", text) {
        Some(said) => (said[0], Some(said[1])),
        None => (text, scan("On {} some had no answer", text).map(|said| said[0])),
    };
    let mut parts: Vec<_> = missing.map(|place| (place, "some")).into_iter().collect();
    let took = took.strip_prefix("The crowd took ").unwrap_or_default();
    for part in took.split(", and ").filter(|part| !part.is_empty()) {
        let place = part.split_once(" on ")?.1;
        parts.push((place.split(", where").next()?, part));
    }
    Some(each_holds(recording, &parts, |lanes, claim| {
        let clients = 0..lanes.clients.len();
        let is_complete = clients.clone().all(|it| answered(lanes, it).len() == 2);
        if claim == "some" || !is_complete {
            return claim == "some" && !is_complete;
        }
        let (times, why) = claim.split_once("as long as one on ").unwrap_or_default();
        let said: f64 = times.strip_suffix(" times ").map_or(Ok(1.0), str::parse).unwrap_or(0.0);
        let thinks =
            |it| (stamps(lanes, it, |did| did == ClientDid::Thinks)[0], asked(lanes, it)[1]);
        let mut thinks: Vec<(f64, f64)> = clients.clone().map(thinks).collect();
        thinks.sort_by(|one, other| one.0.total_cmp(&other.0));
        let why_holds = match why.split_once(", where ").map(|(_, why)| why) {
            None => true,
            // No two at a time.
            Some("each thinks on everyone's time") => {
                thinks.windows(2).all(|pair| pair[0].1 <= pair[1].0)
            }
            // All at some time.
            Some("all think at once") => thinks.iter().all(|it| it.1 > thinks[thinks.len() - 1].0),
            Some(_) => false,
        };
        // One alone waits twice as whoever waited least, and thinks as whoever thought least.
        let least = |all: Vec<f64>| all.into_iter().fold(f64::INFINITY, f64::min);
        let wait = |it| answered(lanes, it)[1] - asked(lanes, it)[1];
        let waits = clients.clone().map(wait).collect();
        let alone = 2.0 * least(waits) + least(thinks.iter().map(|it| it.1 - it.0).collect());
        let last = clients.map(|it| answered(lanes, it)[1]).fold(0.0, f64::max);
        let real = (last - asked(lanes, A)[0]) / alone;
        why_holds && (real / said - 1.0).abs() < 0.2
    }))
}

fn stream(recording: &Recording, text: &str) -> Option<bool> {
    let counts = |lanes: &Lanes| {
        let second = stamps(lanes, A, |did| matches!(did, ClientDid::Sends { messages: 1, .. }));
        let answered = answered(lanes, A);
        let before = answered.iter().filter(|it| **it < second[0]).count();
        [before as f64, (answered.len() - before) as f64]
    };
    let as_it_comes = |lanes: &Lanes| counts(lanes)[0] == 1.0 && counts(lanes)[1] >= 3.0;
    let one = "3 messages had 1 answer and 1 long one had {}, on {}: TCP has bytes, no messages. Each \
               recv() takes what has come, at most 4096 bytes, and is answered once";
    if let Some(said) = scan(one, text) {
        return Some(each_holds(recording, &[(said[1], said[0])], |lanes, said| {
            as_it_comes(lanes) && are(&[said], &counts(lanes)[1..])
        }));
    }
    if text
        == "The steps were sent the same bytes and differ in their answers: TCP has bytes, no \
                messages, and how many each recv() takes depends on the moment"
    {
        let differ = recording.steps.windows(2).any(|it| counts(&it[0]) != counts(&it[1]));
        return Some(differ && recording.steps.iter().all(as_it_comes));
    }
    let parts: Option<Vec<_>> = text.split(". ").map(|it| it.split_once(": ")).collect();
    Some(each_holds(recording, &parts?, |lanes, claim| {
        let claim = claim.replace(" answers", " answer");
        scan("3 messages, 14 bytes → {} answer; 1 message, 10000 bytes → {} answer", &claim)
            .is_some_and(|said| are(&said, &counts(lanes)))
    }))
}

fn idle_crowd(recording: &Recording, text: &str) -> Option<bool> {
    if text == "Nothing was measured" {
        return Some(recording.steps.iter().all(|lanes| answered(lanes, A).is_empty()));
    }
    let is_measured = recording.steps.iter().all(is_measured);
    let median = |lanes: &Lanes, among: usize| {
        let (mut idle, mut asked, mut took) = (usize::MAX, Duration::ZERO, Vec::new());
        for (at, did) in &lanes.clients[A] {
            match did {
                ClientDid::Among(now) => idle = *now,
                ClientDid::Asks => asked = *at,
                ClientDid::Measured(time) if idle == among => took.push(ms(*time)),
                ClientDid::Answered if idle == among && !is_measured => took.push(ms(*at - asked)),
                _ => {}
            }
        }
        took.sort_by(f64::total_cmp);
        took.get(took.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let times = |lanes: &Lanes| median(lanes, 900) / median(lanes, 0);
    let (text, why) = text.split_once(": ").unwrap_or((text, ""));
    let text = text.replace(" an answer among 900 idle clients took", "");
    let whose = if is_measured { "processor time" } else { "time" };
    let text = text.replace(&format!(" the {whose} of one among none"), "");
    let text = text.replace(" and on ", ", on ");
    let part = |part: &'_ str| {
        let said = scan("{} times", part)?[0].rsplit_once(' ')?;
        Some((said.0.to_owned(), said.1.to_owned()))
    };
    let parts: Option<Vec<_>> = text.split(", on ").map(part).collect();
    let parts = parts?;
    let parts: Vec<_> = parts.iter().map(|it| (it.0.as_str(), it.1.as_str())).collect();
    let of = |name| recording.steps.iter().find(|lanes| lanes.step.name() == name).map(times);
    let grows = of("step3-select").is_some_and(|times| times > 2.0);
    let flat = [of("mio"), of("tokio")].into_iter().flatten().all(|times| times < 1.5);
    let why_holds = match why {
        "" => true,
        "select() looks at every socket each time" => grows,
        "select() looks at every socket each time, epoll and kqueue tell of those alone that are \
         ready" => grows && flat,
        _ => false,
    };
    Some(why_holds && each_holds(recording, &parts, |lanes, said| are(&[said], &[times(lanes)])))
}
